/** The page of one protein, and of a sequence that was pasted. */
import { useMemo, useState } from "preact/hooks";
import { colourOfConcept, ramp } from "./colour";
import { index, live, loadProtein, proteinNumber, scoreLive } from "./data";
import { alongProtein } from "./latent";
import { LatentLink, Legend, Loaded, Panel, Picture, Strip, Table, lanes, mostSpecific, show } from "./parts";
import { link, setQuery, useRoute } from "./route";
import { asSequence, similar, type Similar } from "./search";
import { Structure } from "./structure";
import type { Call, Protein } from "./types";

/** Below this, features of another protein say little about a sequence. */
const MIN_IDENTITY = 0.3;

const LEFT = 190, WIDTH = 1240, ROW = 17;

// The number at the start is what one looks for: what is too long for the margin loses its end.
const shortened = (text: string, most: number): string => text.length > most ? `${text.slice(0, most - 1)}…` : text;

function Spans({ title, spans, y, x, faint }: { title: string; spans: (Call & { text?: string })[][]; y: number; x: (p: number) => number; faint?: boolean }) {
  return <g><text class="side-label" x={LEFT - 8} y={y + 11}>{title}</text>{spans.map((lane, i) => lane.map((s) => {
    const w = Math.max(3, x(s.end + 1) - x(s.start)), room = Math.floor((w - 6) / 6.8);
    return <g><rect x={x(s.start)} y={y + i * ROW + 1} width={w} height={ROW - 4} rx={3} style={{ fill: colourOfConcept(s.concept) }} opacity={faint ? 0.75 : 1} />
      {room > 3 ? <text class="in-span" x={x(s.start) + 4} y={y + i * ROW + 11}>{s.concept.slice(0, room)}</text> : null}
      <title>{`${s.concept} ${s.start}–${s.end}${s.text ?? ""}`}</title></g>;
  }))}</g>;
}

function Tracks({ protein, highlight, onPick, n }: { protein: Protein; highlight: number | null; onPick: (latent: number) => void; n: number }) {
  const length = protein.sequence.length, x = (p: number) => LEFT + ((p - 1) / length) * (WIDTH - LEFT);
  const text = (c: Call) => ({ ...c, text: `; precision ${show(c.precision)} (at least ${show(c.precision_low)})${c.probability ? `; probability ${show(c.probability)}` : ""}` });
  const labels = lanes(mostSpecific(protein.labels.map(([start, end, concept]) => ({ start, end, concept })), (l) => l.concept));
  const calls = lanes(protein.annotations.map(text)), proposals = lanes(protein.proposals.map(text));
  const groups: [string, ReturnType<typeof lanes<Call>>][] = [["known labels", labels], ["annotations", calls], ["proposals", proposals]].filter(([, l]) => l.length) as never;
  let y = 22;
  const placed = groups.map(([title, spans]) => { const at = y; y += spans.length * ROW + 8; return { title, spans, at }; });
  const features = protein.features.slice(0, n), from = y;
  const height = from + features.length * ROW + 6;
  const step = [10, 20, 25, 50, 100, 200, 500, 1000].find((s) => length / s <= 12) ?? 2000;
  const ticks = [1, ...Array.from({ length: Math.floor(length / step) }, (_, i) => (i + 1) * step)];
  return (
    <Picture name={`${protein.accession}-features`} label={`Features along ${protein.accession}`} width={WIDTH} height={height} class="tracks" role="group">
      {ticks.map((t) => <g><line x1={x(t)} x2={x(t)} y1={16} y2={height} class="grid-line" /><text class="tick" x={x(t)} y={11}>{t}</text></g>)}
      {placed.map((g) => <Spans title={g.title} spans={g.spans} y={g.at} x={x} faint={g.title === "proposals"} />)}
      {features.map((feature, i) => {
        const top = from + i * ROW, title = index.latents.title[feature.latent] || "";
        return <g class={`feature ${feature.latent === highlight ? "on" : ""}`} onClick={() => onPick(feature.latent)}>
          <rect x={0} y={top} width={WIDTH} height={ROW} class="row-back" />
          <a href={link("latent", feature.latent)}><text class="side-label" x={LEFT - 8} y={top + 12}>{shortened(`${feature.latent} ${title.replace(" without a known concept", "")}`, 26)}<title>{`${feature.latent} ${title}`}</title></text></a>
          <rect x={LEFT} y={top + 2} width={WIDTH - LEFT} height={ROW - 4} class="lane" />
          {feature.runs.map(([start, ...percents]) => percents.map((p, j) => p < 4 ? null : (
            <rect x={x(start + j)} y={top + 2} width={Math.max(1.2, x(start + j + 1) - x(start + j) + 0.15)} height={ROW - 4} style={{ fill: ramp(p / 100) }}>
              <title>{`latent ${feature.latent}, ${protein.sequence[start + j - 1]}${start + j}: ${p} %`}</title></rect>)))}
        </g>;
      })}
    </Picture>
  );
}

function Calls({ name, calls }: { name: string; calls: Call[] }) {
  return <Table name={name} rows={calls} height={300} columns={[
    { name: "concept", value: (c) => c.concept }, { name: "start", number: true, value: (c) => c.start }, { name: "end", number: true, value: (c) => c.end },
    { name: "precision", number: true, value: (c) => c.precision, cell: (c) => show(c.precision) },
    { name: "at least", number: true, value: (c) => c.precision_low, cell: (c) => show(c.precision_low) },
    { name: "probability", number: true, value: (c) => c.probability, cell: (c) => show(c.probability) },
    { name: "latents", value: (c) => (c.latents ?? []).join(" "), cell: (c) => (c.latents ?? []).slice(0, 4).map((l) => <><LatentLink latent={l} plain />{" "}</>) },
  ]} />;
}

export function ProteinView({ protein, structure }: { protein: Protein; structure?: number }) {
  const { query } = useRoute();
  const all = query.has("all");
  const latent = query.has("latent") ? Number(query.get("latent")) : protein.features[0]?.latent ?? null;
  const values = useMemo(() => (latent === null ? null : alongProtein(protein, latent)), [protein, latent]);
  const lines = Array.from({ length: Math.ceil(protein.sequence.length / 60) }, (_, i) => i * 60);
  const n = all ? protein.features.length : 25;
  return (
    <div class="grid">
      <Panel title="Features along the sequence" wide note={<>{`The ${Math.min(n, protein.features.length)} features with the highest peaks, of ${protein.n_features} that reach 15 % of their maximum.`} <Legend /> Click one to see it on the residues.</>}>
        <div class="scroll-x"><Tracks protein={protein} highlight={latent} n={n} onPick={(picked) => setQuery({ latent: String(picked) })} /></div>
        {protein.features.length > 25 ? <button onClick={() => setQuery({ all: all ? "" : "1" })}>{all ? "Fewer" : `All ${protein.features.length}`}</button> : null}
      </Panel>
      {latent !== null && values ? <Panel title={`Latent ${latent} on the residues`} wide note={<LatentLink latent={latent} />}>
        {structure !== undefined ? <Structure number={structure} values={values} /> : null}
        <div class="lines">{lines.map((at) => <Strip name={`${protein.accession}-${latent}-${at + 1}`} first={at + 1} sequence={protein.sequence.slice(at, at + 60)}
          activations={values.slice(at, at + 60)} spans={protein.labels.map(([start, end, name]) => ({ start, end, name }))} />)}</div>
      </Panel> : null}
      {protein.annotations.length ? <Panel title="Annotations" wide note="Calls of this model with the precision measured on held-out proteins."><Calls name={`${protein.accession}-annotations`} calls={protein.annotations} /></Panel> : null}
      {protein.proposals.length ? <Panel title="Proposals" wide note="Calls that the table lacks, with the precision of such calls."><Calls name={`${protein.accession}-proposals`} calls={protein.proposals} /></Panel> : null}
      <Panel title="Features" wide><Table name={`${protein.accession}-features`} rows={protein.features} height={360} columns={[
        { name: "latent", value: (f) => f.latent, width: "minmax(12rem,3fr)", cell: (f) => <LatentLink latent={f.latent} /> },
        { name: "highest %", number: true, value: (f) => f.max }, { name: "at", number: true, value: (f) => f.peak, cell: (f) => `${protein.sequence[f.peak - 1]}${f.peak}` },
        { name: "residues", number: true, value: (f) => f.runs.reduce((sum, run) => sum + run.slice(1).filter((p) => p >= 15).length, 0) }]} /></Panel>
    </div>
  );
}

export function ProteinPage({ id }: { id: string }) {
  const number = proteinNumber(id);
  if (number < 0) return <main id="main"><div class="lead"><h1>{id}</h1><p>No protein of this atlas has this accession.</p></div></main>;
  return <Loaded load={() => loadProtein(number)} deps={[number]}>{(protein: Protein) => (
    <main id="main">
      <div class="lead"><p class="crumb"><a href={link("proteins")}>Proteins</a> / {protein.accession}</p>
        <h1>{protein.description || protein.accession}</h1>
        <p class="facts"><span><b>{protein.accession}</b></span><span><b>{protein.sequence.length}</b> residues</span><span><b>{protein.labels.length}</b> known labels</span><span><b>{protein.annotations.length}</b> annotations</span><span><b>{protein.proposals.length}</b> proposals</span></p></div>
      <ProteinView protein={protein} structure={index.structures.includes(number) ? number : undefined} />
    </main>)}</Loaded>;
}

function SimilarList({ sequence }: { sequence: string }) {
  return <Loaded load={() => similar(sequence)} deps={[sequence]}>{(found: Similar[]) => {
    if (!found.length) return <p class="quiet">No protein of this atlas shares a stretch with it.</p>;
    const best = found[0];
    return <>
      <Table name="similar-proteins" rows={found} height={320} columns={[
        { name: "protein", value: (f) => index.proteins.accession[f.protein], width: "minmax(7rem,.7fr)", cell: (f) => <a href={link("protein", index.proteins.accession[f.protein])}>{index.proteins.accession[f.protein]}</a> },
        { name: "description", value: (f) => index.proteins.description[f.protein], width: "minmax(12rem,3fr)" },
        { name: "identical %", number: true, value: (f) => Math.round(100 * f.identity) }, { name: "shared 4-mers", number: true, value: (f) => f.shared }]} />
      {live ? null : best.identity < MIN_IDENTITY ? <p class="note">None is similar enough (30 % identical without gaps) to stand in for the model. Run plmsae atlas --serve to read the sequence itself.</p> : <Loaded load={() => loadProtein(best.protein)} deps={[best.protein]}>{(protein: Protein) => {
        // Features of the nearest protein, moved to the places of the pasted sequence.
        const moved: Protein = { ...protein, accession: `pasted (by ${protein.accession})`, sequence, annotations: [], proposals: [],
          labels: shift(protein.labels.map(([start, end, concept]) => ({ start, end, concept })), best.offset, sequence.length).map((s) => [s.start, s.end, s.concept]),
          features: protein.features.map((f) => ({ ...f, peak: f.peak - best.offset, runs: f.runs.flatMap((run) => cut(run, best.offset, sequence.length)) })).filter((f) => f.runs.length && f.peak >= 1 && f.peak <= sequence.length) };
        return <><p class="note">{`Drawn below are features and labels of ${protein.accession}, ${Math.round(100 * best.identity)} % identical without gaps, at the matching places; the model did not read the pasted sequence. Run plmsae atlas --serve for that.`}</p><ProteinView protein={moved} /></>;
      }}</Loaded>}
    </>;
  }}</Loaded>;
}

function shift<T extends { start: number; end: number }>(spans: T[], offset: number, length: number): T[] {
  return spans.map((s) => ({ ...s, start: Math.max(1, s.start - offset), end: Math.min(length, s.end - offset) })).filter((s) => s.start <= s.end);
}

function cut([start, ...percents]: number[], offset: number, length: number): number[][] {
  const from = start - offset, skip = Math.max(0, 1 - from), kept = percents.slice(skip, Math.max(skip, length - from + 1));
  return kept.length ? [[from + skip, ...kept]] : [];
}

export function SequencePage() {
  const { query } = useRoute();
  const [text, setText] = useState(query.get("s") ?? "");
  const sequence = asSequence(`>\n${query.get("s") ?? ""}`);
  return (
    <main id="main">
      <div class="lead"><h1>Your sequence</h1>
        <form onSubmit={(e) => { e.preventDefault(); const found = asSequence(text.trim().startsWith(">") ? text : `>\n${text}`); if (found) setQuery({ s: found, latent: "" }); }}>
          <label>Letters, or FASTA with one record<textarea rows={4} value={text} spellcheck={false} onInput={(e) => setText((e.target as HTMLTextAreaElement).value)} /></label>
          <button class="primary">{live ? "Read with the model" : "Find in this atlas"}</button>
        </form>
        <p class="quiet">{live ? "The model of this atlas reads the sequence on this machine." : "This page was opened as a file, without the model: the most similar protein of the atlas is shown. To have the model read your sequence, run plmsae atlas --serve -o with the folder of this atlas."}</p></div>
      {sequence ? <>
        {live ? <Loaded load={() => scoreLive(sequence)} deps={[sequence]}>{(protein: Protein) => <ProteinView protein={protein} />}</Loaded> : null}
        <div class="grid"><Panel title="Similar proteins of this atlas" wide><SimilarList sequence={sequence} /></Panel></div></> : null}
    </main>
  );
}
