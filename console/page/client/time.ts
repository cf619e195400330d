import { h } from "./dom.ts";

const STEPS: readonly [seconds: number, unit: string][] = [
  [86_400, "d"],
  [3600, "h"],
  [60, "min"],
];

/** A duration in its largest whole unit: `3 min`. */
function describe(seconds: number): string {
  for (const [size, unit] of STEPS) if (seconds >= size) return `${Math.floor(seconds / size)} ${unit}`;
  return `${Math.max(0, Math.floor(seconds))} s`;
}

/** How long ago a time was, which {@link refreshTimes} keeps right. Empty if the time is not known. */
export function ago(time: string): HTMLElement {
  const at = Date.parse(time);
  if (!Number.isFinite(at)) return h("span");
  const element = h("time", { attributes: { datetime: time, title: new Date(at).toLocaleString() } });
  element.textContent = describe((Date.now() - at) / 1000);
  return element;
}

/** Brings all times on the page up to date. */
export function refreshTimes(): void {
  for (const element of document.querySelectorAll("time")) {
    const text = describe((Date.now() - Date.parse(element.dateTime)) / 1000);
    if (element.textContent !== text) element.textContent = text;
  }
}
