/** The state of the page is its hash, so that every view has a link. */
import { useEffect, useState } from "preact/hooks";

export interface Route { page: string; id: string; query: URLSearchParams }

export function parse(hash: string): Route {
  const [path, query = ""] = hash.replace(/^#\/?/, "").split("?");
  const [page = "", ...rest] = path.split("/");
  let id = rest.join("/");
  try {
    id = decodeURIComponent(id);
  } catch {
    // Not one of our links: shown as it is.
  }
  return { page, id, query: new URLSearchParams(query) };
}

export function link(page: string, id: string | number = "", query: Record<string, string> = {}): string {
  const text = new URLSearchParams(Object.entries(query).filter(([, value]) => value !== "")).toString();
  return `#/${page}${id === "" ? "" : `/${encodeURIComponent(String(id))}`}${text ? `?${text}` : ""}`;
}

/** A frame of unknown origin, as MLflow shows artifacts in, may not change its address: there the
 * state is kept here alone. */
const framed = window.origin === "null" && location.protocol === "blob:";
let hash = location.hash;

function changed(): void {
  dispatchEvent(new Event("routechange"));
}

if (framed) {
  addEventListener("click", (event) => {
    const target = (event.target as Element).closest?.("a[href^='#/']");
    if (!target) return;
    event.preventDefault();
    go(target.getAttribute("href")!);
  });
} else {
  addEventListener("hashchange", () => {
    hash = location.hash;
    changed();
  });
}

export function go(to: string): void {
  if (!framed) location.hash = to;
  else {
    hash = to;
    changed();
  }
}

/** Change parts of the query without a new entry in the history. */
export function setQuery(changes: Record<string, string>): void {
  const { page, id, query } = parse(hash);
  hash = link(page, id, { ...Object.fromEntries(query), ...changes });
  if (!framed) history.replaceState(null, "", hash);
  changed();
}

export function useRoute(): Route {
  const [route, set] = useState(() => parse(hash));
  useEffect(() => {
    const update = () => set(parse(hash));
    addEventListener("routechange", update);
    return () => removeEventListener("routechange", update);
  }, []);
  return route;
}
