/** Loading chunks: each is a script that registers itself, since a file may not fetch. */
import type { Comparison, Index, Latent, Protein } from "./types";

const loaded = new Map<string, Promise<unknown>>();
const waiting = new Map<string, (packed: string) => void>();
const global = window as unknown as { atlas: (key: string, packed: string) => void };
global.atlas = (key, packed) => waiting.get(key)?.(packed);

/** Whether all data is in this one file, as MLflow shows it. */
export const singleFile = document.getElementById("single-file") !== null;

async function unpack(packed: string): Promise<unknown> {
  const bytes = Uint8Array.from(atob(packed), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

function request(key: string): Promise<string> {
  if (singleFile) {
    const block = document.getElementById(`chunk-${key}`);
    return block
      ? Promise.resolve(block.textContent ?? "")
      : Promise.reject(new Error("This one file was too small for all proteins: open index.html of the folder for this one."));
  }
  return new Promise((resolve, reject) => {
    waiting.set(key, resolve);
    const script = document.createElement("script");
    script.src = `data/${key}.js`;
    script.onerror = () => reject(new Error(`data/${key}.js is missing beside this page`));
    document.head.append(script);
  });
}

export function chunk<T>(key: string): Promise<T> {
  let found = loaded.get(key);
  if (!found) {
    found = request(key).then(unpack);
    loaded.set(key, found);
    found.catch(() => loaded.delete(key));
  }
  return found as Promise<T>;
}

export let index: Index;

export async function loadIndex(): Promise<void> {
  index = await chunk<Index>("index");
}

export async function loadLatent(latent: number): Promise<Latent | null> {
  const size = index.chunk_sizes.latents;
  if (!(latent >= 0 && latent < index.latents.x.length)) return null;
  return (await chunk<(Latent | null)[]>(`latents-${Math.floor(latent / size)}`))[latent % size] ?? null;
}

export function proteinNumber(accession: string): number {
  return index.proteins.accession.indexOf(accession);
}

export async function loadProtein(number: number): Promise<Protein> {
  const size = index.chunk_sizes.proteins;
  return (await chunk<Protein[]>(`proteins-${Math.floor(number / size)}`))[number % size];
}

export const loadSequences = () => chunk<string[]>("sequences");
export const loadComparison = (n: number) => chunk<Comparison>(`compare-${n}`);
export const loadStructure = (n: number) => chunk<{ format: string; text: string }>(`structure-${n}`);

/** Bring in 3Dmol.js when a structure is first shown. */
export async function load3dmol(): Promise<any> {
  const there = () => (window as any)["3Dmol"] ?? (window as any).$3Dmol;
  if (there()) return there();
  const script = document.createElement("script");
  if (singleFile) {
    script.textContent = await chunk<string>("3dmol");
    document.head.append(script);
    return there();
  }
  return new Promise((resolve, reject) => {
    script.src = "3dmol.js";
    script.onload = () => resolve(there());
    script.onerror = () => reject(new Error("3dmol.js is missing beside this page"));
    document.head.append(script);
  });
}

/** Whether a model answers behind this page. */
export let live = false;

export async function findServer(): Promise<void> {
  if (!location.protocol.startsWith("http") || singleFile) return;
  try {
    live = (await fetch("api/score")).ok;
  } catch {
    live = false;
  }
}

export async function scoreLive(sequence: string): Promise<Protein> {
  const answer = await fetch("api/score", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ sequence }),
  });
  const value = await answer.json();
  if (!answer.ok) throw new Error(value.error ?? answer.statusText);
  return value;
}
