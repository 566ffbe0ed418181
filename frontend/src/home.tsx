/** The first page: the map, the filters, and the table of what they leave. */
import { useMemo, useState } from "preact/hooks";
import { index } from "./data";
import { METHODS } from "./latent";
import { type ColourBy, LatentMap, colours } from "./map";
import { Concept, LatentLink, Legend, type Column, Table, percent, show } from "./parts";
import { link, setQuery, useRoute } from "./route";
import { findLatents } from "./search";

const CHOICES: [ColourBy, string][] = [["concept", "Concept"], ["f1", "F1"], ["density", "Density"], ["pattern", "Pattern"]];

export function latentColumns(): Column<number>[] {
  const l = index.latents;
  return [
    { name: "latent", number: true, width: "4.5rem", value: (i) => i, cell: (i) => <LatentLink latent={i} plain /> },
    { name: "title", width: "minmax(11rem,3fr)", value: (i) => l.title[i], cell: (i) => <a href={link("latent", i)}>{l.title[i]}</a> },
    { name: "best concept", value: (i) => (l.concepts[i].length ? index.concepts[l.concepts[i][0][0]] : null),
      cell: (i) => (l.concepts[i].length ? <Concept name={index.concepts[l.concepts[i][0][0]]} /> : "–") },
    { name: "F1", number: true, value: (i) => l.f1[i], cell: (i) => show(l.f1[i]) },
    { name: "density", number: true, value: (i) => l.density[i], cell: (i) => percent(l.density[i]) },
    { name: "pattern", width: "minmax(6rem,.8fr)", value: (i) => index.patterns[l.pattern[i]] ?? "none" },
    { name: "proteins", number: true, value: (i) => l.proteins[i] },
  ];
}

export function Home({ theme }: { theme: string }) {
  const { query } = useRoute();
  const [hovered, hover] = useState<number | null>(null);
  const l = index.latents;
  const by = (query.get("colour") ?? "concept") as ColourBy;
  const text = query.get("find") ?? "", pattern = query.get("pattern") ?? "", minF1 = Number(query.get("f1") ?? 0);
  const concept = query.get("concept") ?? "", picked = query.get("latents") ?? "";
  const filtered = !!(text || pattern || minF1 || concept);
  const shown = useMemo(() => {
    const hits = text ? findLatents(text) : l.x.map((_, i) => i);
    const number = concept ? index.concepts.indexOf(concept) : -1;
    return hits.filter((i) => (l.x[i] >= 0 || text)
      && (!pattern || index.patterns[l.pattern[i]] === pattern)
      && (!minF1 || (l.f1[i] ?? 0) >= minF1)
      && (!concept || l.concepts[i].some(([c]) => c === number)));
  }, [text, pattern, minF1, concept]);
  const shownSet = useMemo(() => (filtered ? new Set(shown) : null), [shown, filtered]);
  const selected = useMemo(() => new Set(picked.split(",").filter(Boolean).map(Number)), [picked]);
  const rows = useMemo(() => {
    const base = selected.size ? shown.filter((i) => selected.has(i)) : shown;
    return text ? base : [...base].sort((a, b) => (l.f1[b] ?? -1) - (l.f1[a] ?? -1) || a - b);
  }, [shown, selected]);
  const key = useMemo(() => colours(by), [by, theme]);
  const columns = useMemo(latentColumns, []);
  const m = index.model;
  const alive = l.x.filter((v) => v >= 0).length;
  return (
    <main id="main">
      <div class="lead">
        <h1>{m.name}</h1>
        <p class="quiet">{`${m.d_sae.toLocaleString("en")} latents (${alive.toLocaleString("en")} active here) of layer ${m.layer} of ${m.plm}; ${m.arch}, k = ${m.k}; seen on ${index.proteins.accession.length.toLocaleString("en")} proteins of ${index.source}.`}
          {" "}{m.metrics.n_concepts_f1_50 !== undefined ? `${m.metrics.n_concepts_f1_50} concepts and ${m.metrics.n_features_f1_50} latents with F1 > 0.5 both where they were chosen and on held-out proteins.` : ""}
          {" "}{m.metrics.explained_variance !== undefined ? `${(100 * m.metrics.explained_variance).toFixed(1)} % of the variance explained.` : ""}</p>
      </div>
      <div class="home">
        <div class="card map-card">
          <div class="bar-row">
            <div class="choice" role="group" aria-label="Colour by">
              {CHOICES.map(([value, label]) => (
                <button aria-pressed={by === value} onClick={() => setQuery({ colour: value })}>{label}</button>
              ))}
            </div>
            <span class="hint">Scroll to zoom, drag to move, shift-drag to select</span>
          </div>
          <LatentMap by={by} shown={shownSet} selected={selected} hovered={hovered} theme={theme}
            onHover={hover} onSelect={(found) => setQuery({ latents: found.join(",") })} />
          <div class="key">
            {key.range ? <span>{key.range[0]} <i class="ramp"><Legend /></i> {key.range[1]}</span> : key.key.map((k) => (
              <span><i class="dot" style={{ background: k.colour }} />{k.name} <small>{k.count}</small></span>
            ))}
          </div>
        </div>
        <aside class="card side">
          <label>Filter latents
            <input type="search" value={text} placeholder="concept, description or number"
              onInput={(e) => setQuery({ find: (e.target as HTMLInputElement).value, latents: "" })} /></label>
          <label>Concept
            <select value={concept} onChange={(e) => setQuery({ concept: (e.target as HTMLSelectElement).value, latents: "" })}>
              <option value="">any</option>
              {index.concepts.map((name) => <option value={name} selected={name === concept}>{name}</option>)}
            </select></label>
          <label>Pattern
            <select value={pattern} onChange={(e) => setQuery({ pattern: (e.target as HTMLSelectElement).value })}>
              <option value="">any</option>
              {index.patterns.map((name) => <option value={name} selected={name === pattern}>{name}</option>)}
            </select></label>
          <label>{`F1 at least ${minF1.toFixed(2)}`}
            <input type="range" min="0" max="1" step="0.05" value={minF1}
              onInput={(e) => setQuery({ f1: Number((e.target as HTMLInputElement).value) ? (e.target as HTMLInputElement).value : "" })} /></label>
          {filtered || selected.size ? <button onClick={() => setQuery({ find: "", concept: "", pattern: "", f1: "", latents: "" })}>Show all</button> : null}
          <div class="hover" aria-live="polite">
            {hovered === null ? <p class="quiet">Point at a latent to see what it is.</p> : <>
              <p class="big"><b class="number">{hovered}</b> {l.title[hovered]}</p>
              {l.concepts[hovered].slice(0, 3).map(([c, f1]) => <p><Concept name={index.concepts[c]} /> <small>F1 {f1.toFixed(2)}</small></p>)}
              <p class="quiet">{`${index.patterns[l.pattern[hovered]]}; active on ${percent(l.density[hovered])} of residues, in ${l.proteins[hovered]} proteins`}</p>
            </>}
          </div>
        </aside>
      </div>
      <div class="card">
        <Table name="latents" columns={columns} rows={rows} height={520} onHover={hover}
          note={<>{rows.length.toLocaleString("en")} latents{selected.size ? " selected" : filtered ? " found" : ""}</>}
          empty="No latent is left; loosen the filters." />
      </div>
    </main>
  );
}

export function Concepts() {
  const rows = index.concept_rows;
  type Row = (typeof rows)[0];
  const has = (key: string) => rows.some((row) => (row as any)[key] !== null && (row as any)[key] !== undefined);
  const num = (name: string, key: keyof (typeof rows)[0]): Column<(typeof rows)[0]>[] => has(key)
    ? [{ name, number: true, value: (r) => r[key] as number, cell: (r) => show(r[key] as number) }] : [];
  return (
    <main id="main"><div class="lead"><h1>Concepts</h1>
      <p class="quiet">What was looked for, chosen on one part of the labelled proteins and measured on the other. F1, precision and recall are those of the best latent, residue by residue; beside them the best F1 of other methods (–: none reaches 0.4 where it is chosen). Calls right: the share of called places that are right.</p></div>
      <div class="card"><Table name="concepts" rows={rows} height={680} columns={[
        { name: "concept", value: (r) => r.concept, cell: (r) => <a href={link("", "", { concept: r.concept })}><Concept name={r.concept} /></a> },
        { name: "latent", value: (r) => r.latent, number: true, cell: (r) => (r.latent === null ? "–" : <LatentLink latent={r.latent} plain />) },
        ...num("F1", "f1"), ...(has("f1_low") ? [{ name: "95 % interval", number: true, width: "minmax(7rem,.7fr)", value: (r: Row) => r.f1_low, cell: (r: Row) => (r.f1_low === null || r.f1_low === undefined ? "–" : `${show(r.f1_low)} to ${show(r.f1_high)}`) }] : []),
        ...num("precision", "precision_residue"), ...num("recall", "recall"), ...METHODS.flatMap(([key, name]) => num(name, key)),
        ...num("calls right", "call_precision"),
        { name: "instances", number: true, value: (r) => r.n_instances, cell: (r) => r.n_instances ?? "–" },
      ]} /></div>
    </main>
  );
}

export function Proteins() {
  const p = index.proteins;
  const rows = p.accession.map((_, i) => i);
  return (
    <main id="main"><div class="lead"><h1>Proteins</h1><p class="quiet">Those that every latent was looked at on.</p></div>
      <div class="card"><Table name="proteins" rows={rows} height={680} columns={[
        { name: "accession", width: "minmax(7rem,.7fr)", value: (i) => p.accession[i], cell: (i) => <a href={link("protein", p.accession[i])}>{p.accession[i]}</a> },
        { name: "description", width: "minmax(12rem,4fr)", value: (i) => p.description[i] },
        { name: "length", number: true, value: (i) => p.length[i] },
        ...(index.structures.length ? [{ name: "structure", number: true, value: (i: number) => (index.structures.includes(i) ? "yes" : "") }] : []),
      ]} /></div>
    </main>
  );
}
