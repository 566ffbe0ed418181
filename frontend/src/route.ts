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

export function go(hash: string): void {
  location.hash = hash;
}

/** Change parts of the query without a new entry in the history. */
export function setQuery(changes: Record<string, string>): void {
  const { page, id, query } = parse(location.hash);
  const all = { ...Object.fromEntries(query), ...changes };
  const hash = link(page, id, all);
  if (hash === location.hash || (hash === "#/" && location.hash === "")) return;
  try {
    history.replaceState(null, "", hash);
    dispatchEvent(new HashChangeEvent("hashchange"));
  } catch {
    location.hash = hash; // a frame of unknown origin may not rewrite its history
  }
}

export function useRoute(): Route {
  const [route, set] = useState(() => parse(location.hash));
  useEffect(() => {
    const changed = () => set(parse(location.hash));
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return route;
}
