/** Colours: one ramp for activations, one palette for classes; both for light and dark. */

const LIGHT: [number, number, number][] = [[238, 242, 247], [253, 216, 131], [247, 138, 66], [205, 50, 74], [112, 15, 82]];
const DARK: [number, number, number][] = [[34, 41, 56], [84, 48, 96], [186, 54, 85], [249, 130, 66], [253, 231, 138]];

export function isDark(): boolean {
  return document.documentElement.dataset.theme === "dark";
}

/** Colour of a share in [0, 1]. */
export function ramp(share: number): string {
  const stops = isDark() ? DARK : LIGHT;
  const at = Math.max(0, Math.min(1, share)) * (stops.length - 1);
  const i = Math.min(stops.length - 2, Math.floor(at));
  const part = stops[i].map((v, c) => Math.round(v + (stops[i + 1][c] - v) * (at - i)));
  return `rgb(${part.join(",")})`;
}

/** Black or white, whichever reads better on the ramp's colour. */
export function inkOn(share: number): string {
  const [r, g, b] = ramp(share).match(/\d+/g)!.map(Number);
  return 0.299 * r + 0.587 * g + 0.114 * b > 140 ? "#1b2230" : "#ffffff";
}

const PALETTE = ["#4477cc", "#e07b39", "#2f9e6e", "#c2498f", "#8a63d2", "#c9a227", "#22a3b8", "#d1495b", "#7a8b3c", "#9c6b4e"];

export function classColour(number: number): string {
  return number < 0 ? (isDark() ? "#4a5468" : "#c3cad6") : PALETTE[number % PALETTE.length];
}

/** The class of a concept: what stands before the colon. */
export const conceptClass = (name: string) => name.split(":")[0];

const classes = new Map<string, number>();
export function colourOfConcept(name: string): string {
  const key = conceptClass(name);
  if (!classes.has(key)) classes.set(key, classes.size);
  return classColour(classes.get(key)!);
}
