import type { HistoryRow } from "../state/wire.ts";
import { find, h, setText, svg } from "./dom.ts";

/** The span of the charts, in ms. */
const SPAN = 3_600_000;
const [WIDTH, HEIGHT] = [600, 80];

interface Chart {
  readonly element: HTMLElement;
  show(points: readonly (readonly [time: number, value: number])[], now: number): void;
}

/** Draws the charts of the last hour: the share of units that pods hold, and the number of pods that wait. */
export function createHistory(): { show(rows: ReadonlyMap<string, HistoryRow>): void } {
  const held = createChart(
    "Held units",
    (value) => `${Math.round(value)} %`,
    () => 100,
  );
  const waiting = createChart("Waiting pods", String, (highest) => Math.max(10, highest));
  find("#history").append(held.element, waiting.element);
  return {
    show(rows) {
      const now = Date.now();
      const samples = [...rows].map(([time, row]) => [Date.parse(time), row] as const).sort(([a], [b]) => a - b);
      held.show(
        samples.map(([time, row]) => [time, row.total > 0 ? (row.held / row.total) * 100 : 0]),
        now,
      );
      waiting.show(
        samples.map(([time, row]) => [time, row.waiting]),
        now,
      );
    },
  };
}

function createChart(title: string, format: (value: number) => string, topOf: (highest: number) => number): Chart {
  const area = svg("path", { class: "area" });
  const line = svg("path", { class: "line" });
  const image = svg("svg", {
    viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
    preserveAspectRatio: "none",
    role: "img",
    "aria-label": title,
  });
  image.append(area, line);
  const [top, now] = [h("span"), h("strong")];
  const caption = h("figcaption", {}, `${title} `, now, h("span", { class: "scale" }, "1 h, top ", top));
  return {
    element: h("figure", {}, caption, image),
    show(points, at) {
      const values = points.map(([, value]) => value);
      const highest = Math.max(0, ...values);
      const scale = topOf(highest);
      const places = points.map(([time, value]) => {
        const x = Math.max(0, WIDTH - ((at - time) / SPAN) * WIDTH);
        return `${x.toFixed(1)} ${(HEIGHT - (value / scale) * HEIGHT).toFixed(1)}`;
      });
      const path = places.length > 0 ? `M${places[0]}L${places.join("L")}` : ""; // one sample is a point
      line.setAttribute("d", path);
      const [first = "0"] = places[0]?.split(" ") ?? [];
      const [last = "0"] = places.at(-1)?.split(" ") ?? [];
      area.setAttribute("d", path && `${path}L${last} ${HEIGHT}L${first} ${HEIGHT}Z`);
      setText(top, format(scale));
      const current = values.at(-1);
      setText(now, current === undefined ? "" : format(current));
      const lowest = Math.min(...values);
      const range = `${title} in the last hour: from ${format(lowest)} to ${format(highest)}, now ${format(current ?? 0)}`;
      image.setAttribute("aria-label", values.length > 0 ? range : `${title}: no samples yet`);
    },
  };
}
