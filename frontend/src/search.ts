/** Search: latents by number, concept or description; proteins by name or by a stretch of sequence. */
import { index, loadSequences } from "./data";

export interface Hit { kind: "latent" | "protein" | "sequence"; id: number | string; title: string; detail: string }

const clean = (text: string) => text.replace(/^>.*$/gm, "").replace(/[\s*]/g, "").toUpperCase();

/** The sequence in a text that was pasted, or null where it does not look like one. */
export function asSequence(text: string): string | null {
  const letters = clean(text);
  const fasta = text.trim().startsWith(">");
  return /^[A-Z]+$/.test(letters) && (fasta || (letters.length >= 20 && !/[a-z ]{3,}/.test(text.trim()))) ? letters : null;
}

function words(query: string): string[] {
  return query.toLowerCase().split(/\s+/).filter(Boolean);
}

/** Latents whose number, a concept, or title and claim hold all words, the best first. */
export function findLatents(query: string): number[] {
  const l = index.latents, wanted = words(query);
  if (!wanted.length) return [];
  const number = /^#?\d+$/.test(query.trim()) ? Number(query.trim().replace("#", "")) : -1;
  const concepts = index.concepts.map((name) => wanted.every((w) => name.toLowerCase().includes(w)));
  const found: [number, number][] = [];
  for (let i = 0; i < l.x.length; i++) {
    if (i === number) { found.push([i, 9]); continue; }
    if (l.x[i] < 0) continue;
    const hit = l.concepts[i].find(([c]) => concepts[c]);
    const title = l.title[i].toLowerCase(), claim = l.claim[i].toLowerCase();
    if (hit) found.push([i, 1 + hit[1]]);
    else if (wanted.every((w) => title.includes(w))) found.push([i, 0.5]);
    else if (wanted.every((w) => title.includes(w) || claim.includes(w))) found.push([i, 0.25]);
  }
  return found.sort((a, b) => b[1] - a[1] || a[0] - b[0]).map(([i]) => i);
}

export function findProteins(query: string): number[] {
  const p = index.proteins, wanted = words(query);
  if (!wanted.length) return [];
  const found: [number, number][] = [];
  p.accession.forEach((accession, i) => {
    const name = accession.toLowerCase();
    if (name === query.trim().toLowerCase()) found.push([i, 2]);
    else if (wanted.every((w) => name.includes(w) || p.description[i].toLowerCase().includes(w))) found.push([i, 1]);
  });
  return found.sort((a, b) => b[1] - a[1] || a[0] - b[0]).map(([i]) => i);
}

const K = 4;

export interface Similar { protein: number; shared: number; offset: number; identity: number }

/** Proteins of the atlas that share the most 4-mers on one diagonal with a sequence. */
export async function similar(sequence: string, n = 12): Promise<Similar[]> {
  const all = await loadSequences();
  const places = new Map<string, number[]>();
  for (let i = 0; i + K <= sequence.length; i++) {
    const word = sequence.slice(i, i + K), list = places.get(word);
    if (list) list.push(i); else places.set(word, [i]);
  }
  const found: Similar[] = [];
  all.forEach((other, protein) => {
    const diagonals = new Map<number, number>();
    for (let j = 0; j + K <= other.length; j++) {
      for (const i of places.get(other.slice(j, j + K)) ?? []) diagonals.set(j - i, (diagonals.get(j - i) ?? 0) + 1);
    }
    let [offset, shared] = [0, 0];
    for (const [d, count] of diagonals) if (count > shared) [offset, shared] = [d, count];
    if (shared < 2) return;
    const [from, to] = [Math.max(0, -offset), Math.min(sequence.length, other.length - offset)];
    let same = 0;
    for (let i = from; i < to; i++) if (sequence[i] === other[i + offset]) same++;
    found.push({ protein, shared, offset, identity: same / Math.max(1, to - from) });
  });
  return found.sort((a, b) => b.shared - a.shared).slice(0, n);
}
