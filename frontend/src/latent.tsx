/** The page of one latent. */
import { useMemo } from "preact/hooks";
import { ramp } from "./colour";
import { index, loadLatent, loadProtein, proteinNumber } from "./data";
import { type Column, Concept, Histogram, LatentLink, Legend, Loaded, Panel, Picture, ProteinLink, type Span, Strip, Table, percent, show } from "./parts";
import { go, link, setQuery, useRoute } from "./route";
import { Structure } from "./structure";
import type { ConceptRow, Example, Latent, Protein } from "./types";

const LABEL = /^(.*) (\d+)\.\.(\d+)$/;
const spansOf = (example: Example): Span[] => example.labels.flatMap((text) => {
  const match = LABEL.exec(text);
  return match ? [{ name: match[1], start: Number(match[2]), end: Number(match[3]) }] : [];
});

/** Activations of one latent along a protein, as shares; null where its page does not hold it. */
export function alongProtein(protein: Protein, latent: number): number[] | null {
  const feature = protein.features.find((f) => f.latent === latent);
  if (!feature) return null;
  const values = new Array(protein.sequence.length).fill(0);
  for (const [start, ...percents] of feature.runs) percents.forEach((p, i) => { values[start - 1 + i] = p / 100; });
  return values;
}

function Overview({ example }: { example: Example }) {
  const width = 600, x = (p: number) => ((p - 1) / example.length) * width;
  return (
    <svg class="overview" viewBox={`0 0 ${width} 14`} preserveAspectRatio="none" role="img"
      aria-label={`Active at ${example.active.map(([a, b]) => `${a} to ${b}`).join(", ")} of ${example.length}`}>
      <rect x={0} y={5} width={width} height={4} rx={2} class="track" />
      {example.active.map(([a, b]) => <rect x={x(a)} y={2} width={Math.max(2.5, x(b + 1) - x(a))} height={10} style={{ fill: ramp(0.75) }} />)}
    </svg>
  );
}

function Whole({ example, latent }: { example: Example; latent: number }) {
  return <Loaded load={() => loadProtein(proteinNumber(example.accession))} deps={[example.accession]}>{(protein: Protein) => {
    const values = alongProtein(protein, latent);
    if (!values) return <p class="quiet">This latent is not among the strongest features of this protein, whose page keeps those only.</p>;
    const step = 60, lines = [];
    for (let at = 0; at < protein.sequence.length; at += step) lines.push(at);
    return <div class="lines">{lines.map((at) => (
      <Strip name={`${example.accession}-${latent}-${at + 1}`} first={at + 1} sequence={protein.sequence.slice(at, at + step)}
        activations={values.slice(at, at + step)} spans={protein.labels.map(([start, end, name]) => ({ start, end, name }))} />))}</div>;
  }}</Loaded>;
}

function ExampleStrip({ example, latent }: { example: Example; latent: number }) {
  const opened = (useRoute().query.get("whole") ?? "").split(",").filter(Boolean), whole = opened.includes(example.accession);
  const toggle = () => setQuery({ whole: (whole ? opened.filter((a) => a !== example.accession) : [...opened, example.accession]).join(",") });
  return (
    <article class={`example ${whole ? "wide" : ""}`}>
      <header>
        <b><ProteinLink accession={example.accession} /></b>
        <span class="quiet ellipsis" title={example.description}>{example.description}</span>
        <span class="nowrap">{`${(100 * example.activation).toFixed(0)} % at ${example.window[example.peak - example.window_start]}${example.peak}`}</span>
        {proteinNumber(example.accession) >= 0 ? <button class="small" aria-expanded={whole} onClick={toggle}>{whole ? "window" : "whole sequence"}</button> : null}
      </header>
      <Overview example={example} />
      {whole ? <Whole example={example} latent={latent} /> : <Strip name={`${example.accession}-${latent}`} first={example.window_start}
        sequence={example.window} activations={example.activations} spans={spansOf(example)} />}
    </article>
  );
}

function Logo({ latent }: { latent: Latent }) {
  const width = 300, height = 120, step = width / latent.logo.length;
  const ink = (aa: string) => ("DE".includes(aa) ? "#c2403a" : "KRH".includes(aa) ? "#3467c0" : "STNQCGPY".includes(aa) ? "#2f9e6e" : "var(--ink)");
  return (
    <Picture name={`latent-${latent.latent}-residues`} label="Amino acids around the peak" width={width} height={height}>
      {latent.logo.map((column, i) => {
        const entries = Object.entries(column).sort((a, b) => b[1] - a[1]).slice(0, 5).filter(([, share]) => share > 0.04);
        const bits = Math.max(0, Math.log2(20) + Object.values(column).reduce((s, p) => s + (p > 0 ? p * Math.log2(p) : 0), 0));
        let y = height - 14;
        return <g>{[...entries].reverse().map(([aa, share]) => {
          const h = (share * bits / Math.log2(20)) * (height - 16);
          y -= h;
          return h < 2 ? null : <text class="logo" style={{ fill: ink(aa) }} transform={`translate(${i * step + step / 2},${y + h}) scale(${step / 14},${h / 10})`}>{aa}<title>{`${aa} ${(100 * share).toFixed(0)} % at ${i - 7}`}</title></text>;
        })}<text class="tick" x={i * step + step / 2} y={height - 3}>{i - Math.floor(latent.logo.length / 2)}</text></g>;
      })}
    </Picture>
  );
}

/** What else finds concepts: column of the index and its name in the tables. */
export const METHODS: [keyof ConceptRow & `f1_${string}`, string][] = [
  ["f1_neuron", "neurons"], ["f1_pca", "PCA"], ["f1_random_plm_sae", "random PLM"], ["f1_best_hit", "best hit"],
  ["f1_nearest_embedding", "embedding"], ["f1_every_residue", "amino acid"]];

function Scores({ latent }: { latent: Latent }) {
  const rows = latent.concepts.map((score) => ({ ...score, measured: index.concept_rows.find((r) => r.concept === score.concept) }));
  return <Table name={`latent-${latent.latent}-concepts`} rows={rows} height={300} empty="No concept was tied to this latent." columns={[
    { name: "concept", value: (r) => r.concept, cell: (r) => <Concept name={r.concept} /> },
    { name: "F1", number: true, value: (r) => r.f1, cell: (r) => <b>{show(r.f1)}</b> },
    { name: "precision", number: true, value: (r) => r.precision, cell: (r) => show(r.precision) },
    { name: "recall", number: true, value: (r) => r.recall, cell: (r) => show(r.recall) },
    { name: "from", number: true, value: (r) => r.threshold, cell: (r) => show(r.threshold) },
    ...METHODS.filter(([key]) => index.concept_rows.some((row) => row[key] !== undefined && row[key] !== null)).map(([key, name]): Column<(typeof rows)[0]> => (
      { name, number: true, width: "minmax(6rem,.6fr)", value: (r) => r.measured?.[key], cell: (r) => show(r.measured?.[key]) })),
  ]} />;
}

export function LatentPage({ id }: { id: string }) {
  const number = Number(id);
  return <Loaded load={() => loadLatent(number)} deps={[id]}>{(latent: Latent | null) => {
    if (!latent) return <main id="main"><div class="lead"><h1>Latent {id}</h1><p>It does not exist, or fires on none of the proteins of this atlas.</p></div></main>;
    const top = latent.examples.filter((e, i) => i < 8 || e.activation >= 0.9).slice(0, 8);
    const lower = latent.examples.filter((e) => !top.includes(e));
    const alive = (step: number) => { let i = number + step; while (i >= 0 && i < index.latents.x.length && index.latents.x[i] < 0) i += step; return i; };
    return (
      <main id="main">
        <div class="lead">
          <p class="crumb"><a href={link("")}>Latents</a> / {number}
            <span class="nav"><button onClick={() => go(link("latent", alive(-1)))} aria-label="Previous latent">←</button><button onClick={() => go(link("latent", alive(1)))} aria-label="Next latent">→</button></span></p>
          <h1>{latent.title}</h1>
          <p class="facts">
            <span><b>{latent.pattern}</b> pattern</span><span>active on <b>{percent(latent.density)}</b> of residues</span>
            <span>in <b>{latent.n_active.toLocaleString("en")}</b> of {latent.n_proteins.toLocaleString("en")} proteins</span>
            <span>typical run <b>{latent.run_length}</b> residues</span><span>maximum <b>{latent.max_activation.toPrecision(3)}</b></span>
          </p>
          <p><b>{latent.summary}</b> {latent.description}</p>
          <p class="quiet">{latent.byline}</p>
        </div>
        <div class="grid">
          <Panel title="Strongest proteins" wide note={<>Residues coloured by activation <Legend />; known labels beneath. Point at a residue for its position.</>}>
            <div class="examples">{top.map((example) => <ExampleStrip key={example.accession} example={example} latent={number} />)}</div>
          </Panel>
          {lower.length ? <Panel title="One protein of each lower tenth" wide note="How the latent looks where it is weaker: a good explanation holds here, too.">
            <div class="examples">{lower.map((example) => <ExampleStrip key={example.accession} example={example} latent={number} />)}</div>
          </Panel> : null}
          <Panel title="Concepts" wide note="F1 of this latent on held-out proteins, where its activation exceeds “from” (a share of its maximum); then the best F1 that other methods reach for the same concept: a neuron of the PLM, a principal component, a latent of an SAE of a random PLM, the labels of the most similar protein or of the nearest mean embedding, and calling every residue of one kind of amino acid. –: none reaches 0.4 where it is chosen, or not measured.">
            <Scores latent={latent} /></Panel>
          <Panel title="Activations" note="Residues by activation; the height is logarithmic.">
            <Histogram counts={latent.histogram} name={`latent-${number}-activations`} label="Histogram of activations" ticks={["0", "maximum"]} /></Panel>
          <Panel title="Residues at the peak" note={`From ${latent.n_peaks} strong peaks, one a protein.`}>
            <Logo latent={latent} />
            <p class="facts">{latent.residues.map((r) => <span><b>{r.residue}</b> {(100 * r.share).toFixed(0)} % <small>×{r.fold}</small></span>)}</p></Panel>
          <Panel title="Fires together with" note="Jaccard index over active residues.">
            <Table name={`latent-${number}-together`} rows={latent.together} height={310} empty="With no other." columns={[
              { name: "latent", value: (r) => r[0], cell: (r) => <LatentLink latent={r[0]} /> },
              { name: "Jaccard", number: true, value: (r) => r[1], cell: (r) => show(r[1]) }, { name: "residues", number: true, value: (r) => r[2] }]} /></Panel>
          <Panel title="Nearest decoder directions" note="Cosine similarity.">
            <Table name={`latent-${number}-nearest`} rows={latent.nearest} height={310} columns={[
              { name: "latent", value: (r) => r[0], cell: (r) => <LatentLink latent={r[0]} /> },
              { name: "cosine", number: true, value: (r) => r[1], cell: (r) => show(r[1]) }]} /></Panel>
          <Panel title="Enriched terms" wide note="Terms that proteins with this latent share more often than chance lets expect, on these proteins (q: Benjamini–Hochberg over all latents and terms). Not corrected for homology.">
            <Table name={`latent-${number}-terms`} rows={latent.terms} height={300} empty="None at q ≤ 0.05." columns={[
              { name: "term", value: (r) => r.term, width: "minmax(12rem,3fr)" }, { name: "kind", value: (r) => r.namespace.replace(/_/g, " "), width: "minmax(6rem,1fr)" },
              { name: "fold", number: true, value: (r) => r.fold }, { name: "q", number: true, value: (r) => r.q, cell: (r) => r.q.toExponential(0) },
              { name: "proteins", number: true, value: (r) => r.n_both, cell: (r) => `${r.n_both} of ${r.n_active}` }, { name: "with term", number: true, value: (r) => r.n_term }]} /></Panel>
          {index.structures.length ? <Panel title="Structures" wide note="Coloured by activation."><LatentStructures latent={latent} /></Panel> : null}
        </div>
      </main>
    );
  }}</Loaded>;
}

function OneStructure({ number, protein, latent }: { number: number; protein: Protein; latent: number }) {
  // The same array each time, or every change of the address would draw the structure anew.
  const values = useMemo(() => alongProtein(protein, latent) ?? [], [protein, latent]);
  return <Structure number={number} values={values} />;
}

function LatentStructures({ latent }: { latent: Latent }) {
  const choices = latent.examples.map((e) => proteinNumber(e.accession)).filter((n) => index.structures.includes(n));
  const stated = proteinNumber(useRoute().query.get("structure") ?? "");
  const chosen = choices.includes(stated) ? stated : choices[0];
  if (!choices.length) return <p class="quiet">None of the proteins above has a structure here.</p>;
  return <>
    <div class="choice">{choices.map((n) => <button aria-pressed={n === chosen} onClick={() => setQuery({ structure: index.proteins.accession[n] })}>{index.proteins.accession[n]}</button>)}</div>
    <Loaded load={() => loadProtein(chosen)} deps={[chosen]}>{(protein: Protein) => <OneStructure number={chosen} protein={protein} latent={latent.latent} />}</Loaded>
  </>;
}
