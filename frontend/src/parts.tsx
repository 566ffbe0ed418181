/** Small parts that all pages share: strips of sequence, tables, save buttons. */
import type { ComponentChildren, JSX } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { colourOfConcept, inkOn, ramp } from "./colour";
import { index } from "./data";
import { link, setQuery, useRoute } from "./route";
import { canSave, saveCsv, savePng, saveSvg } from "./save";

export const show = (value: number | null | undefined, digits = 2) =>
  value === null || value === undefined ? "–" : value.toFixed(digits);

export const percent = (value: number) =>
  value >= 0.01 ? `${(100 * value).toFixed(1)} %` : value > 0 ? `${(100 * value).toPrecision(2)} %` : "0";

export const Concept = ({ name }: { name: string }) => (
  <span class="concept"><i style={{ background: colourOfConcept(name) }} />{name}</span>
);

export function LatentLink({ latent, plain }: { latent: number; plain?: boolean }) {
  const title = index.latents.title[latent];
  return <a href={link("latent", latent)}><b class="number">{latent}</b>{plain ? null : <> {title || "not active here"}</>}</a>;
}

export function ProteinLink({ accession }: { accession: string }) {
  return index.proteins.accession.includes(accession)
    ? <a href={link("protein", accession)}>{accession}</a> : <>{accession}</>;
}

/** Load something and draw it; shows what went wrong. */
export function Loaded<T>({ load, deps, children }: {
  load: () => Promise<T>; deps: unknown[]; children: (value: T) => ComponentChildren;
}) {
  const [state, set] = useState<{ deps: unknown[]; value?: T; error?: string }>();
  useEffect(() => {
    let current = true;
    load().then(
      (value) => current && set({ deps, value }),
      (error) => current && set({ deps, error: String(error.message ?? error) }),
    );
    return () => { current = false; };
  }, deps);
  const fresh = state && state.deps.every((d, i) => d === deps[i]) ? state : undefined;
  if (!fresh) return <p class="quiet" role="status">Loading …</p>;
  if (fresh.error) return <p class="problem" role="alert">{fresh.error}</p>;
  return <>{children(fresh.value as T)}</>;
}

export interface Column<Row> {
  name: string;
  /** For sorting and CSV. */
  value: (row: Row) => string | number | boolean | null | undefined;
  cell?: (row: Row) => ComponentChildren;
  number?: boolean;
  width?: string;
}

const ROW = 34;
/** Rows are drawn anew when the table has moved by so much; as many more are drawn at both ends. */
const STEP = 8 * ROW;

/** A table that sorts, saves as CSV, and draws only the rows in view. The hash says how it is sorted:
 * `sort.NAME=column`, with a minus from high to low. */
export function Table<Row>({ name, columns, rows, height = 420, note, onHover, empty = "Nothing here." }: {
  name: string; columns: Column<Row>[]; rows: Row[]; height?: number; note?: ComponentChildren;
  onHover?: (row: Row | null) => void; empty?: string;
}) {
  const key = `sort.${name}`, stated = useRoute().query.get(key) ?? "";
  const by = columns.findIndex((c) => c.name === stated.replace(/^-/, ""));
  const sort = by < 0 ? null : { column: by, down: stated.startsWith("-") };
  const [top, setTop] = useState(0);
  const body = useRef<HTMLDivElement>(null);
  const sorted = useMemo(() => {
    if (!sort) return rows;
    const value = columns[sort.column].value;
    const sign = sort.down ? -1 : 1;
    return [...rows].sort((a, b) => {
      const [x, y] = [value(a), value(b)];
      if (x === y) return 0;
      if (x === null || x === undefined) return 1;
      if (y === null || y === undefined) return -1;
      return (x < y ? -1 : 1) * sign;
    });
  }, [rows, stated]);
  useEffect(() => { body.current?.scrollTo(0, 0); setTop(0); }, [rows, stated]);
  const first = Math.max(0, Math.floor(top / ROW) - 8);
  const last = Math.min(sorted.length, first + Math.ceil(height / ROW) + 16);
  // The same for all rows, or a long cell would widen its own row alone.
  const grid = { minWidth: `${columns.reduce((sum, c) => sum + (c.number ? 5.4 : 9.8), 0)}rem`, gridTemplateColumns: columns.map((c) => c.width ?? (c.number ? "minmax(4.6rem,.5fr)" : "minmax(9rem,2fr)")).join(" ") };
  const order = (i: number) => (sort?.column === i ? (sort.down ? "descending" : "ascending") : "none");
  return (
    <div class="table-box">
      <div class="tools"><span>{note ?? `${rows.length.toLocaleString("en")} rows`}</span>
        {canSave && rows.length ? <button class="small" onClick={() => saveCsv(name, sorted.map((row) =>
          Object.fromEntries(columns.map((c) => [c.name, c.value(row)]))))}>CSV</button> : null}
      </div>
      <div class="table" role="table" aria-label={name.replace(/[-_]/g, " ")} aria-rowcount={rows.length}
        ref={body} style={{ maxHeight: `${height}px` }} tabIndex={0}
        onScroll={(e) => setTop(Math.floor((e.target as HTMLElement).scrollTop / STEP) * STEP)}>
        <div class="row head" role="row" style={grid}>
          {columns.map((c, i) => (
            <span role="columnheader" aria-sort={order(i)} class={c.number ? "n" : ""}>
              <button onClick={() => setQuery({ [key]: sort?.column !== i ? `${c.number ? "-" : ""}${c.name}`
                : sort.down !== !!c.number ? "" : `${sort.down ? "" : "-"}${c.name}` })}>
                {c.name}{sort?.column === i ? (sort.down ? " ↓" : " ↑") : ""}</button>
            </span>
          ))}
        </div>
        <div style={{ height: `${first * ROW}px` }} />
        {sorted.slice(first, last).map((row, i) => (
          <div key={first + i} class="row" role="row" style={grid} onMouseEnter={onHover && (() => onHover(row))}
            onMouseLeave={onHover && (() => onHover(null))}>
            {columns.map((c) => {
              const value = c.value(row);
              return <span role="cell" class={c.number ? "n" : ""} title={typeof value === "string" ? value : undefined}>
                {c.cell ? c.cell(row) : typeof value === "number" ? String(value) : value ?? "–"}</span>;
            })}
          </div>
        ))}
        <div style={{ height: `${(sorted.length - last) * ROW}px` }} />
        {rows.length ? null : <p class="quiet">{empty}</p>}
      </div>
    </div>
  );
}

/** An SVG with buttons that save it. One with links in it is a group: an image has no parts to reach. */
export function Picture({ name, label, width, height, children, class: extra = "", role = "img" }: {
  name: string; label: string; width: number; height: number; children: ComponentChildren; class?: string; role?: "img" | "group";
}) {
  const svg = useRef<SVGSVGElement>(null);
  return (
    <figure class={`picture ${extra}`}>
      <svg ref={svg} viewBox={`0 0 ${width} ${height}`} role={role} aria-label={label} style={{ maxWidth: `${width}px`, minWidth: extra === "strip" ? `${width}px` : undefined }}>{children}</svg>
      {canSave ? <figcaption>
        <button class="small" onClick={() => saveSvg(name, svg.current!)}>SVG</button>
        <button class="small" onClick={() => savePng(name, svg.current!)}>PNG</button>
      </figcaption> : null}
    </figure>
  );
}

export const Legend = () => (
  <span class="legend" aria-hidden="true">0 <i style={{ background: `linear-gradient(90deg, ${[0, 0.25, 0.5, 0.75, 1].map(ramp).join(",")})` }} /> maximum</span>
);

export interface Span { start: number; end: number; name: string; detail?: string; faint?: boolean }

/** Lay spans into lanes so that none overlap. */
export function lanes<T extends { start: number; end: number }>(spans: T[], gap = 0): T[][] {
  const found: T[][] = [];
  for (const span of [...spans].sort((a, b) => a.start - b.start || b.end - a.end)) {
    const lane = found.find((l) => l[l.length - 1].end + gap < span.start);
    if (lane) lane.push(span); else found.push([span]);
  }
  return found;
}

/** Leave out a class that stands exactly where its member stands: Domain beside Domain: SH3. */
export function mostSpecific<T extends { start: number; end: number }>(spans: T[], name: (span: T) => string): T[] {
  return spans.filter((a) => !spans.some((b) => b !== a && b.start === a.start && b.end === a.end && name(b).startsWith(`${name(a)}:`)));
}

/** Residues coloured by activation, labels beneath. `first` is the position of the first letter. */
export function Strip({ sequence, activations, first, spans, name }: {
  sequence: string; activations: number[]; first: number; spans: Span[]; name: string;
}) {
  const cell = 15, gap = 3, [above, letters] = [14, 20];
  const last = first + sequence.length - 1;
  const inside = spans.filter((s) => s.end >= first && s.start <= last)
    .map((s) => ({ ...s, start: Math.max(s.start, first), end: Math.min(s.end, last) }));
  const rows = lanes(mostSpecific(inside, (s) => s.name));
  const width = sequence.length * cell + 2, height = above + letters + rows.length * 16 + gap;
  return (
    <Picture name={name} label={`${name}: residues ${first} to ${last}`} width={width} height={height} class="strip">
      {[...sequence].map((letter, i) => {
        const value = activations[i] ?? 0, position = first + i;
        return (
          <g key={i}>
            {position % 10 === 0 || (i === 0 && position % 10 < 8) ? <text class="tick" x={i * cell + cell / 2} y={10}>{position}</text> : null}
            <rect x={i * cell + 0.5} y={above} width={cell - 1} height={letters} rx={2} style={{ fill: ramp(value) }} />
            <text class="letter" x={i * cell + cell / 2} y={above + 14.5} style={{ fill: inkOn(value) }}>{letter}</text>
            <rect x={i * cell} y={above} width={cell} height={letters} fill="transparent"><title>{`${letter}${position}: ${(100 * value).toFixed(0)} % of the maximum`}</title></rect>
          </g>
        );
      })}
      {rows.map((lane, row) => lane.map((span) => {
        const x = (span.start - first) * cell + 1, w = (span.end - span.start + 1) * cell - 2;
        const y = above + letters + gap + row * 16;
        const text = span.name.slice(0, Math.floor(w / 6.2));
        return (
          <g>
            <title>{`${span.name} ${span.detail ?? ""}`}</title>
            <rect x={x} y={y} width={w} height={13} rx={3} style={{ fill: colourOfConcept(span.name) }} />
            {text.length > 2 ? <text class="in-span" x={x + 4} y={y + 10}>{text}</text> : null}
          </g>
        );
      }))}
    </Picture>
  );
}

/** Bars, the tallest filling the height. */
export function Histogram({ counts, name, label, ticks }: { counts: number[]; name: string; label: string; ticks: [string, string] }) {
  const width = 300, height = 110, bottom = 92, top = 10;
  const highest = Math.max(1, ...counts.map((c) => Math.log10(c + 1)));
  const step = (width - 10) / counts.length;
  return (
    <Picture name={name} label={label} width={width} height={height}>
      {counts.map((count, i) => {
        const h = (Math.log10(count + 1) / highest) * (bottom - top);
        return (
          <g>
            <rect x={5 + i * step + 0.5} y={bottom - h} width={step - 1} height={h} rx={1.5} style={{ fill: ramp((i + 0.5) / counts.length) }} class="bar" />
            <rect x={5 + i * step} y={0} width={step} height={bottom} fill="transparent"><title>{`${((100 * i) / counts.length).toFixed(0)}–${((100 * (i + 1)) / counts.length).toFixed(0)} %: ${count.toLocaleString("en")}`}</title></rect>
          </g>
        );
      })}
      <text class="tick start" x={5} y={height - 4}>{ticks[0]}</text>
      <text class="tick end" x={width - 5} y={height - 4}>{ticks[1]}</text>
    </Picture>
  );
}

export function Panel({ title, children, note, wide }: { title: string; children: ComponentChildren; note?: ComponentChildren; wide?: boolean }): JSX.Element {
  return <section class={`panel ${wide ? "wide" : ""}`}><h2>{title}</h2>{note ? <p class="quiet">{note}</p> : null}{children}</section>;
}
