/** The frame of all pages: header, search, theme; and which page the hash names. */
import { render } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { ComparePage } from "./compare";
import { findServer, index, loadIndex } from "./data";
import { Concepts, Home, Proteins } from "./home";
import { LatentPage } from "./latent";
import { ProteinPage, SequencePage } from "./protein";
import { go, link, useRoute } from "./route";
import { asSequence, findLatents, findProteins, type Hit } from "./search";
import "./style.css";

/** What is said of a latent that was found: its claim, after its concept where the claim does not name it. */
function told(latent: number): string {
  const l = index.latents, claim = l.claim[latent], best = l.concepts[latent][0];
  if (!best || claim.includes(index.concepts[best[0]])) return claim;
  return `${index.concepts[best[0]]}, F1 ${best[1].toFixed(2)}. ${claim}`;
}

function hitsOf(text: string): Hit[] {
  const sequence = asSequence(text);
  if (sequence) return [{ kind: "sequence", id: sequence, title: "Read this sequence", detail: `${sequence.length} residues` }];
  const l = index.latents, p = index.proteins;
  return [
    ...findLatents(text).slice(0, 8).map((i): Hit => ({ kind: "latent", id: i, title: `${i} ${l.title[i]}`, detail: told(i) })),
    ...findProteins(text).slice(0, 5).map((i): Hit => ({ kind: "protein", id: p.accession[i], title: p.accession[i], detail: p.description[i] })),
  ];
}

const target = (hit: Hit) => (hit.kind === "sequence" ? link("sequence", "", { s: String(hit.id) }) : link(hit.kind, hit.id));

function Search() {
  const [text, set] = useState("");
  const [at, move] = useState(0);
  const input = useRef<HTMLInputElement>(null);
  const hits = text.trim() ? hitsOf(text) : [];
  useEffect(() => {
    const key = (e: KeyboardEvent) => {
      const inField = (e.target as HTMLElement).closest("input, textarea, select");
      if (e.key === "/" && !inField) { e.preventDefault(); input.current?.focus(); }
    };
    addEventListener("keydown", key);
    return () => removeEventListener("keydown", key);
  }, []);
  const open = (hash: string) => { set(""); input.current?.blur(); go(hash); };
  function keys(e: KeyboardEvent) {
    if (e.key === "ArrowDown") move(Math.min(at + 1, hits.length));
    else if (e.key === "ArrowUp") move(Math.max(at - 1, 0));
    else if (e.key === "Escape") set("");
    else if (e.key === "Enter" && text.trim()) open(hits[at] ? target(hits[at]) : link("", "", { find: text.trim() }));
    else return;
    e.preventDefault();
  }
  return (
    <div class="search" role="search">
      <input ref={input} type="text" role="combobox" aria-expanded={hits.length > 0} aria-controls="hits" aria-label="Search"
        aria-activedescendant={hits.length ? `hit-${at}` : undefined} autocomplete="off" spellcheck={false} maxLength={20000}
        placeholder="Search a concept, latent, protein; or paste a sequence" value={text}
        onInput={(e) => { set((e.target as HTMLInputElement).value); move(0); }} onKeyDown={keys} onBlur={() => setTimeout(() => set((t) => t), 150)} />
      <kbd aria-hidden="true">/</kbd>
      {text.trim() ? <ul id="hits" role="listbox">
        {hits.map((hit, i) => <li id={`hit-${i}`} role="option" aria-selected={i === at} onMouseEnter={() => move(i)} onMouseDown={(e) => { e.preventDefault(); open(target(hit)); }}>
          <em>{hit.kind}</em><b>{hit.title}</b><span>{hit.detail}</span></li>)}
        {asSequence(text) ? null : <li id={`hit-${hits.length}`} role="option" aria-selected={at >= hits.length} onMouseDown={(e) => { e.preventDefault(); open(link("", "", { find: text.trim() })); }}>
          <em>map</em><b>{hits.length ? "Show all matching latents on the map" : "Nothing found"}</b></li>}
      </ul> : null}
    </div>
  );
}

function stored(): string | null {
  try { return localStorage.getItem("plmsae-theme"); } catch { return null; } // MLflow's frame has no storage
}

function App() {
  const route = useRoute();
  const preferred = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  const [theme, setTheme] = useState(stored() ?? preferred);
  document.documentElement.dataset.theme = theme;
  useEffect(() => {
    window.scrollTo(0, 0);
    document.title = `${[route.page, route.id].filter(Boolean).join(" ") || "map"} · ${index.model.name} · atlas`;
  }, [route.page, route.id]);
  function toggle() {
    const next = theme === "dark" ? "light" : "dark";
    try { localStorage.setItem("plmsae-theme", next); } catch { /* not kept there */ }
    document.documentElement.dataset.theme = next;
    setTheme(next);
  }
  const pages = [["", "Map"], ["concepts", "Concepts"], ["proteins", "Proteins"], ["sequence", "Sequence"], ["compare", "Compare"]];
  const page = { latent: <LatentPage id={route.id} />, protein: <ProteinPage id={route.id} />, proteins: <Proteins />, concepts: <Concepts />, sequence: <SequencePage />, compare: <ComparePage id={route.id} /> }[route.page] ?? <Home theme={theme} />;
  const current = { latent: "", protein: "proteins" }[route.page] ?? route.page;
  return <>
    <a class="skip" href="#main" onClick={(e) => { e.preventDefault(); const m = document.getElementById("main"); m?.setAttribute("tabindex", "-1"); m?.focus(); }}>To the content</a>
    <header class="top">
      <a class="brand" href={link("")}><svg viewBox="0 0 32 32" aria-hidden="true"><circle cx="9" cy="21" r="5" fill="#4477cc" /><circle cx="21" cy="10" r="6.5" fill="#e07b39" /><circle cx="23" cy="24" r="3.5" fill="#2f9e6e" /></svg>atlas</a>
      <nav aria-label="Pages">{pages.map(([id, name]) => <a href={link(id)} aria-current={current === id ? "page" : undefined}>{name}</a>)}</nav>
      <Search />
      <button class="theme" onClick={toggle} aria-label={theme === "dark" ? "Light mode" : "Dark mode"}>{theme === "dark" ? "☀" : "☾"}</button>
    </header>
    <div key={`${route.page}/${route.id}/${theme}`}>{page}</div>
    <footer>{index.model.uri} · plmsae</footer>
  </>;
}

const root = document.getElementById("app")!;
Promise.all([loadIndex(), findServer()]).then(
  () => { root.replaceChildren(); render(<App />, root); },
  (error) => { root.textContent = `The atlas cannot be opened: ${error.message ?? error}`; },
);
