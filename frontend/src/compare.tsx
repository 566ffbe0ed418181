/** Two models side by side. */
import { useMemo } from "preact/hooks";
import { index, loadComparison } from "./data";
import { Concept, Histogram, LatentLink, Loaded, Panel, Table, show } from "./parts";
import { link, setQuery, useRoute } from "./route";
import type { Comparison } from "./types";

const CHANGES = ["only here", "only there", "both", "neither"];

/** By how much F1 is higher here; null where one of the two was not measured. */
const gain = (row: Comparison["concepts"][0]) => (row.f1 === null || row.other_f1 === null ? null : row.f1 - row.other_f1);

function Compared({ c }: { c: Comparison }) {
  const { query } = useRoute();
  const mutual = query.has("mutual");
  const change = query.get("change") ?? "";
  const counts = (what: string) => c.concepts.filter((row) => row.change === what).length;
  const concepts = useMemo(() => [...c.concepts].sort((a, b) => Math.abs(gain(b) ?? 0) - Math.abs(gain(a) ?? 0)), [c]);
  const [here, there] = index.model.name === c.name ? [index.model.uri, c.uri] : [index.model.name, c.name];
  const rows = useMemo(() => (mutual ? c.pairs.filter((p) => p.back) : c.pairs), [c, mutual]);
  const bins = useMemo(() => { const b = new Array(20).fill(0); for (const p of c.pairs) b[Math.min(19, Math.max(0, Math.floor(p.r * 20)))]++; return b; }, [c]);
  return (
    <div class="grid">
      <Panel title="In short">
        <p class="facts"><span><b>{c.pairs.filter((p) => p.r > 0.7).length}</b> of {c.pairs.length} latents have a match with r &gt; 0.7</span>
          <span><b>{c.pairs.filter((p) => p.back).length}</b> are each other's best match</span>
          <span><b>{counts("both")}</b> concepts found by both, <b>{counts("only here")}</b> only here, <b>{counts("only there")}</b> only there (F1 &gt; 0.5)</span></p></Panel>
      <Panel title="Correlation of best matches" note="Latents of this model by the correlation of their best match.">
        <Histogram counts={bins} name="matches" label="Histogram of correlations" ticks={["r = 0", "r = 1"]} /></Panel>
      <Panel title="Concepts gained and lost" wide note={`Here is ${here}, there is ${there}. The largest differences come first.`}>
        <div class="choice" role="group" aria-label="Concepts">{["", ...CHANGES].map((what) => <button aria-pressed={change === what} onClick={() => setQuery({ change: what })}>{what || "all"} <small>{what ? counts(what) : c.concepts.length}</small></button>)}</div>
        <Table name="concepts-compared" rows={concepts.filter((row) => !change || row.change === change)} height={380} columns={[
          { name: "concept", value: (r) => r.concept, cell: (r) => <Concept name={r.concept} /> },
          { name: "F1 here", number: true, value: (r) => r.f1, cell: (r) => show(r.f1) }, { name: "F1 there", number: true, value: (r) => r.other_f1, cell: (r) => show(r.other_f1) },
          { name: "gain here", number: true, value: (r) => gain(r), cell: (r) => { const d = gain(r); return d === null ? "–" : <span class={d > 0.05 ? "up" : d < -0.05 ? "down" : ""}>{(d > 0 ? "+" : "") + d.toFixed(2)}</span>; } },
          { name: "latent here", number: true, value: (r) => r.latent, cell: (r) => (r.latent === null ? "–" : <LatentLink latent={r.latent} plain />) },
          { name: "latent there", number: true, value: (r) => r.other_latent, cell: (r) => r.other_latent ?? "–" }]} /></Panel>
      <Panel title="Matched latents" wide note={c.same_space ? "r: correlation of activations over all residues; cosine: of the decoder directions of the two." : "r: correlation of activations over all residues. The decoders live in different spaces, so directions cannot be compared."}>
        <label class="inline"><input type="checkbox" checked={mutual} onChange={(e) => setQuery({ mutual: (e.target as HTMLInputElement).checked ? "1" : "" })} /> only each other's best match</label>
        <Table name="matched-latents" rows={rows} height={520} columns={[
          { name: "here", value: (p) => p.latent, width: "minmax(10rem,2fr)", cell: (p) => <LatentLink latent={p.latent} /> },
          { name: "there", number: true, value: (p) => p.other },
          { name: "r", number: true, value: (p) => p.r, cell: (p) => show(p.r) },
          ...(c.same_space ? [{ name: "cosine", number: true, value: (p: Comparison["pairs"][0]) => p.cosine, cell: (p: Comparison["pairs"][0]) => show(p.cosine) }] : []),
          { name: "concept here", value: (p) => p.concept, cell: (p) => (p.concept ? <Concept name={p.concept} /> : "–") },
          { name: "F1 here", number: true, value: (p) => p.f1, cell: (p) => show(p.f1) },
          { name: "concept there", value: (p) => p.other_concept, cell: (p) => (p.other_concept ? <Concept name={p.other_concept} /> : "–") },
          { name: "F1 there", number: true, value: (p) => p.other_f1, cell: (p) => show(p.other_f1) }]} /></Panel>
    </div>
  );
}

export function ComparePage({ id }: { id: string }) {
  const number = Number(id || 0);
  const there = index.compared[number];
  return (
    <main id="main">
      <div class="lead"><h1>Compare</h1>
        <div class="choice" role="group" aria-label="Compare with">{index.compared.map((c, i) => <a class="button" aria-current={i === number ? "page" : undefined} href={link("compare", i)}>{c.name}</a>)}</div>
        {there ? <p class="quiet">{`${index.model.uri} beside ${there.uri}, on the same proteins.`}</p> : <p>This atlas holds one model. Build it with --compare to put others beside it.</p>}</div>
      {there ? <Loaded load={() => loadComparison(number)} deps={[number]}>{(c: Comparison) => <Compared c={c} />}</Loaded> : null}
    </main>
  );
}
