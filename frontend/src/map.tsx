/** The map of all latents: a canvas with zoom, hover and selection. */
import { useEffect, useRef, useState } from "preact/hooks";
import { classColour, conceptClass, isDark, ramp } from "./colour";
import { index } from "./data";
import { go, link, setQuery, useRoute } from "./route";
import { canSave, save } from "./save";

export type ColourBy = "concept" | "f1" | "density" | "pattern";

/** F1 above which a latent counts as finding its concept, as everywhere in plmsae. */
const FOUND = 0.5;

export interface Key { name: string; colour: string; count: number }

/** Colours of all latents and what they mean. */
export function colours(by: ColourBy): { of: (latent: number) => string; key: Key[]; range?: [string, string] } {
  const l = index.latents;
  if (by === "f1" || by === "density") {
    const logs = l.density.map((d) => (d > 0 ? Math.log10(d) : -6));
    const low = -5, high = -0.5;
    const share = by === "f1" ? l.f1.map((f) => f ?? 0) : logs.map((v) => Math.max(0, (v - low) / (high - low)));
    return { of: (i) => ramp(0.12 + 0.88 * Math.min(1, share[i])), key: [], range: by === "f1" ? ["0", "F1 1"] : ["0.001 %", "30 % of residues"] };
  }
  const names = by === "pattern"
    ? l.pattern.map((p) => (p < 0 ? "" : index.patterns[p]))
    : l.concepts.map((c) => (c.length && c[0][1] > FOUND ? conceptClass(index.concepts[c[0][0]]) : ""));
  const counts = new Map<string, number>();
  names.forEach((n, i) => { if (l.x[i] >= 0) counts.set(n, (counts.get(n) ?? 0) + 1); });
  const ordered = [...counts.keys()].filter((n) => n).sort((a, b) => counts.get(b)! - counts.get(a)!);
  const place = new Map(ordered.map((n, i) => [n, i < 10 ? i : -1]));
  const key = ordered.slice(0, 10).map((n, i) => ({ name: n, colour: classColour(i), count: counts.get(n)! }));
  const rest = [...counts].filter(([n]) => (place.get(n) ?? -1) < 0).reduce((sum, [, c]) => sum + c, 0);
  if (rest) key.push({ name: by === "pattern" ? "other" : `no concept at F1 > ${FOUND} on held-out proteins, or a rarer one`, colour: classColour(-1), count: rest });
  return { of: (i) => classColour(place.get(names[i]) ?? -1), key };
}

/** The place of the map in the middle of the frame, as shares of the whole, and the zoom. It does not
 * depend on the size of the frame, so that a link shows the same place everywhere. */
interface View { u: number; v: number; k: number }

const WHOLE: View = { u: 0.5, v: 0.5, k: 1 };
const MOST = 60;

/** The view that the hash names: zoom, then the place. */
function readView(text: string): View {
  const [k, u, v] = text.split(",").map(Number);
  return [k, u, v].every(Number.isFinite) ? { k: Math.max(1, Math.min(MOST, k)), u, v } : WHOLE;
}

const writeView = ({ k, u, v }: View) => (k === 1 && u === 0.5 && v === 0.5 ? "" : [k.toFixed(2), u.toFixed(4), v.toFixed(4)].map(Number).join(","));

export function LatentMap({ by, shown, selected, hovered, onSelect, onHover, theme }: {
  by: ColourBy; shown: Set<number> | null; selected: Set<number>; hovered: number | null; theme: string;
  onSelect: (latents: number[]) => void; onHover: (latent: number | null) => void;
}) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const stated = useRoute().query.get("view") ?? "", written = useRef(stated);
  const [view, setView] = useState(() => readView(stated));
  useEffect(() => {
    if (stated === written.current) return;
    written.current = stated;
    setView(readView(stated));
  }, [stated]);
  // Browsers refuse to change the address many times a second, as a wheel would.
  useEffect(() => {
    const text = writeView(view);
    if (text === written.current) return;
    const timer = setTimeout(() => { written.current = text; setQuery({ view: text }); }, 150);
    return () => clearTimeout(timer);
  }, [view]);
  const [size, setSize] = useState({ w: 600, h: 440 });
  const [box, setBox] = useState<[number, number, number, number] | null>(null);
  const drag = useRef<{ x: number; y: number; view: View; box: boolean; moved: boolean } | null>(null);
  const pinch = useRef(new Map<number, [number, number]>());
  const { x, y } = index.latents;
  const pad = 18;
  const place = (i: number): [number, number] => [
    (pad + (x[i] / 10000) * (size.w - 2 * pad)) * view.k + size.w * (0.5 - view.u * view.k),
    (pad + (1 - y[i] / 10000) * (size.h - 2 * pad)) * view.k + size.h * (0.5 - view.v * view.k),
  ];
  const moved = (from: View, dx: number, dy: number): View => ({ ...from, u: from.u - dx / (size.w * from.k), v: from.v - dy / (size.h * from.k) });
  useEffect(() => {
    const watch = new ResizeObserver(([entry]) => setSize({ w: entry.contentRect.width, h: entry.contentRect.height }));
    watch.observe(canvas.current!.parentElement!);
    return () => watch.disconnect();
  }, []);

  function paint(context: CanvasRenderingContext2D, scale: number) {
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, size.w, size.h);
    const colour = colours(by);
    const radius = Math.min(7, (x.length > 4000 ? 2 : 3) * Math.sqrt(view.k));
    const order = x.map((_, i) => i).filter((i) => x[i] >= 0);
    for (const pass of [0, 1]) {
      for (const i of order) {
        const on = !shown || shown.has(i);
        if (on !== (pass === 1)) continue;
        const [px, py] = place(i);
        if (px < -9 || py < -9 || px > size.w + 9 || py > size.h + 9) continue;
        context.globalAlpha = on ? 0.88 : 0.1;
        context.fillStyle = colour.of(i);
        context.beginPath();
        context.arc(px, py, radius, 0, 7);
        context.fill();
      }
    }
    context.globalAlpha = 1;
    for (const i of [...selected, ...(hovered === null ? [] : [hovered])]) {
      if (!(x[i] >= 0)) continue;
      const [px, py] = place(i);
      context.strokeStyle = isDark() ? "#fff" : "#111827";
      context.lineWidth = i === hovered ? 2.5 : 1.4;
      context.beginPath();
      context.arc(px, py, radius + 3, 0, 7);
      context.stroke();
    }
  }

  useEffect(() => {
    const node = canvas.current!;
    const scale = devicePixelRatio || 1;
    node.width = size.w * scale;
    node.height = size.h * scale;
    paint(node.getContext("2d")!, scale);
  }, [by, shown, selected, hovered, view, size, theme]);

  function nearest(px: number, py: number): number | null {
    let best: number | null = null, distance = 14 * 14;
    for (let i = 0; i < x.length; i++) {
      if (x[i] < 0 || (shown && !shown.has(i))) continue;
      const [qx, qy] = place(i);
      const d = (qx - px) ** 2 + (qy - py) ** 2;
      if (d < distance) [best, distance] = [i, d];
    }
    return best;
  }
  const at = (e: PointerEvent | WheelEvent): [number, number] => {
    const box = canvas.current!.getBoundingClientRect();
    return [e.clientX - box.left, e.clientY - box.top];
  };
  function zoom(factor: number, px = size.w / 2, py = size.h / 2) {
    setView((old) => {
      const k = Math.max(1, Math.min(MOST, old.k * factor)), f = 1 / old.k - 1 / k;
      return k === 1 ? WHOLE : { k, u: old.u + (px / size.w - 0.5) * f, v: old.v + (py / size.h - 0.5) * f };
    });
  }
  useEffect(() => {
    const node = canvas.current!;
    const wheel = (e: WheelEvent) => { e.preventDefault(); zoom(Math.exp(-e.deltaY / 300), ...at(e)); };
    node.addEventListener("wheel", wheel, { passive: false });
    return () => node.removeEventListener("wheel", wheel);
  }, [size]);

  function down(e: PointerEvent) {
    canvas.current!.setPointerCapture(e.pointerId);
    const [px, py] = at(e);
    pinch.current.set(e.pointerId, [px, py]);
    drag.current = { x: px, y: py, view, box: e.shiftKey, moved: false };
  }
  function move(e: PointerEvent) {
    const [px, py] = at(e), d = drag.current;
    if (pinch.current.size === 2 && pinch.current.has(e.pointerId)) {
      const [[, a], [, b]] = [...pinch.current];
      const before = Math.hypot(a[0] - b[0], a[1] - b[1]);
      pinch.current.set(e.pointerId, [px, py]);
      const [[, c], [, f]] = [...pinch.current];
      zoom(Math.hypot(c[0] - f[0], c[1] - f[1]) / Math.max(before, 1), (c[0] + f[0]) / 2, (c[1] + f[1]) / 2);
      if (d) d.moved = true;
      return;
    }
    if (!d) return onHover(nearest(px, py));
    if (Math.hypot(px - d.x, py - d.y) > 4) d.moved = true;
    if (d.box) setBox([d.x, d.y, px, py]);
    else if (d.moved) setView(moved(d.view, px - d.x, py - d.y));
  }
  function up(e: PointerEvent) {
    const d = drag.current;
    drag.current = null;
    pinch.current.delete(e.pointerId);
    if (!d) return;
    if (box) {
      const [x0, x1] = [Math.min(box[0], box[2]), Math.max(box[0], box[2])];
      const [y0, y1] = [Math.min(box[1], box[3]), Math.max(box[1], box[3])];
      onSelect(x.map((_, i) => i).filter((i) => {
        if (x[i] < 0 || (shown && !shown.has(i))) return false;
        const [px, py] = place(i);
        return px >= x0 && px <= x1 && py >= y0 && py <= y1;
      }));
      setBox(null);
    } else if (!d.moved) {
      const found = nearest(...at(e));
      if (found !== null) go(link("latent", found)); else onSelect([]);
    }
  }
  function keys(e: KeyboardEvent) {
    const step = 40;
    const moves: Record<string, [number, number]> = { ArrowLeft: [step, 0], ArrowRight: [-step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
    if (e.key === "+" || e.key === "=") zoom(1.5);
    else if (e.key === "-") zoom(1 / 1.5);
    else if (e.key === "0") setView(WHOLE);
    else if (moves[e.key]) setView((old) => moved(old, ...moves[e.key]));
    else return;
    e.preventDefault();
  }
  function savePng() {
    const copy = document.createElement("canvas"), scale = 3;
    copy.width = size.w * scale;
    copy.height = size.h * scale;
    const context = copy.getContext("2d")!;
    paint(context, scale);
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.globalCompositeOperation = "destination-over";
    context.fillStyle = getComputedStyle(document.body).backgroundColor;
    context.fillRect(0, 0, copy.width, copy.height);
    copy.toBlob((blob) => blob && save("map.png", blob));
  }
  function saveSvg() {
    const colour = colours(by), radius = 3;
    const dots = x.map((_, i) => i).filter((i) => x[i] >= 0).map((i) => {
      const [px, py] = place(i);
      return `<circle cx="${px.toFixed(1)}" cy="${py.toFixed(1)}" r="${radius}" fill="${colour.of(i)}" fill-opacity="${!shown || shown.has(i) ? 0.88 : 0.1}"><title>${i}</title></circle>`;
    });
    save("map.svg", new Blob([`<svg xmlns="http://www.w3.org/2000/svg" width="${size.w}" height="${size.h}">${dots.join("")}</svg>`], { type: "image/svg+xml" }));
  }
  const style = box && { left: `${Math.min(box[0], box[2])}px`, top: `${Math.min(box[1], box[3])}px`, width: `${Math.abs(box[2] - box[0])}px`, height: `${Math.abs(box[3] - box[1])}px` };
  return (
    <div class="map">
      <canvas ref={canvas} tabIndex={0} role="img" aria-label="Map of all latents. Arrow keys move, plus and minus zoom, 0 resets. The table below lists the same latents."
        onPointerDown={down} onPointerMove={move} onPointerUp={up} onPointerLeave={() => onHover(null)} onKeyDown={keys}
        style={{ cursor: hovered === null ? "grab" : "pointer" }} />
      {style ? <div class="box" style={style} /> : null}
      <div class="map-tools">
        <button aria-label="Zoom in" onClick={() => zoom(1.6)}>+</button>
        <button aria-label="Zoom out" onClick={() => zoom(1 / 1.6)}>−</button>
        <button aria-label="Whole map" onClick={() => setView(WHOLE)}>⤢</button>
        {canSave ? <><button onClick={saveSvg} aria-label="Save the map as SVG">SVG</button><button onClick={savePng} aria-label="Save the map as PNG">PNG</button></> : null}
      </div>
    </div>
  );
}
