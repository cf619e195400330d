import type { Section } from "../state/wire.ts";
import { createDetails } from "./details.ts";
import { find, setText } from "./dom.ts";
import { createGrid } from "./grid.ts";
import { createHistory } from "./history.ts";
import { createLists } from "./lists.ts";
import { createModel } from "./model.ts";
import { refreshTimes } from "./time.ts";

/** Time between two updates of what says how long ago something was, in ms. */
const TIMES = 15_000;

const model = createModel();
const details = createDetails(model);
const grid = createGrid({ model, onChoose: details.showGpu });
const search = find<HTMLInputElement>("#find");
const lists = createLists({
  model,
  onPod: details.showPod,
  onNamespace(namespace) {
    search.value = `${namespace}/`;
    grid.filter(search.value);
    search.focus();
  },
});
const history = createHistory();
const connection = find("#connection");
let isScheduled = false;

/** Draws what has changed, once for all that has arrived before the next frame. */
function schedule(): void {
  if (isScheduled) return;
  isScheduled = true;
  requestAnimationFrame(() => {
    isScheduled = false;
    draw();
  });
}

function draw(): void {
  performance.mark("update-start");
  const changes = model.takeChanges();
  const changed = (section: Section) => changes.get(section) ?? new Set<string>();
  if (changes.has("servers") || changes.has("gpus")) grid.update(changed("servers"), changed("gpus"));
  if (changes.has("gpus")) lists.holders();
  if (changes.has("waiting")) lists.waiting();
  if (changes.has("refusals")) lists.refusals();
  if (changes.has("notes")) lists.notes();
  if (changes.has("totals")) lists.totals();
  if (changes.has("history")) history.show(model.rows.history);
  details.update();
  performance.measure("update", "update-start");
}

const events = new EventSource("events");
for (const [name, isWhole] of [
  ["state", true],
  ["patch", false],
] as const) {
  events.addEventListener(name, ({ data }: MessageEvent<string>) => {
    model.apply(JSON.parse(data), isWhole);
    if (isWhole) setText(connection, "Live");
    schedule();
  });
}
events.addEventListener("error", () => {
  const isOver = events.readyState === EventSource.CLOSED;
  setText(connection, isOver ? "Disconnected: reload the page" : "Connection lost: what you see may be old");
});
search.addEventListener("input", () => grid.filter(search.value));
setInterval(refreshTimes, TIMES);
