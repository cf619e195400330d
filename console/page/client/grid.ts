import type { GpuRow, ServerRow } from "../state/wire.ts";
import { colorOf } from "./colors.ts";
import { find, h, setText } from "./dom.ts";
import type { Model } from "./model.ts";

/** What a state other than `ok` is called on a GPU. */
const STATES: Readonly<Record<string, string>> = {
  tainted: "tainted",
  draining: "draining",
  unhealthy: "unhealthy",
  unreachable: "away",
  gone: "gone",
  unpublished: "not published",
};

export interface GridOptions {
  model: Model;
  /** Called with the key of a GPU that a user chooses. */
  onChoose: (gpu: string) => void;
}

/** The servers as rows and their GPUs as cells. One cell can have the focus by Tab; arrow keys move it. */
export interface Grid {
  /** Draws the servers and GPUs with these keys again. */
  update(servers: ReadonlySet<string>, gpus: ReadonlySet<string>): void;
  /** Shows only the servers that match, or that have a matching GPU. */
  filter(text: string): void;
}

interface Row {
  readonly element: HTMLElement;
  readonly cells: HTMLElement;
  readonly sortKey: string;
  /** Keys of its GPUs. */
  readonly gpus: Set<string>;
}

interface Cell {
  readonly element: HTMLElement;
  readonly bar: HTMLElement;
  readonly label: HTMLElement;
  readonly sortKey: string;
  readonly server: string;
}

export function createGrid({ model, onChoose }: GridOptions): Grid {
  const grid = find("#grid");
  const count = find("#servers .count");
  const rows = new Map<string, Row>();
  const cells = new Map<string, Cell>();
  let query = "";
  /** The cell that Tab reaches: the first one, until a user chooses another. */
  let entry: HTMLElement | undefined;
  let isChosen = false;

  function rowOf(server: string): Row {
    const known = rows.get(server);
    if (known) return known;
    const { name = "" } = model.rows.servers.get(server) ?? {};
    const head = h("div", { class: "server", attributes: { role: "rowheader" } });
    head.append(h("h3"), h("p", { class: "address" }), h("p", { class: "held" }));
    const own = h("div", { class: "gpus", attributes: { role: "presentation" } });
    const element = h("div", { class: "row", attributes: { role: "row" } }, head, own);
    const row = { element, cells: own, sortKey: sortable(`${name} ${server}`), gpus: new Set<string>() };
    rows.set(server, row);
    insertSorted(grid, element, row.sortKey);
    return row;
  }

  function cellOf(key: string, gpu: GpuRow): Cell {
    const known = cells.get(key);
    if (known?.server === gpu.server) return known;
    removeCell(key);
    const bar = h("span", { class: "bar" });
    const label = h("span", { class: "label" });
    const element = h("div", { class: "gpu", attributes: { role: "gridcell", tabindex: "-1" } }, bar, label);
    element.dataset.key = key;
    const cell = { element, bar, label, sortKey: sortable(gpu.id), server: gpu.server };
    cells.set(key, cell);
    const row = rowOf(gpu.server);
    row.gpus.add(key);
    insertSorted(row.cells, element, cell.sortKey);
    return cell;
  }

  function removeCell(key: string): void {
    const cell = cells.get(key);
    if (!cell) return;
    cells.delete(key);
    cell.element.remove();
    if (cell.element === entry) isChosen = false;
    rows.get(cell.server)?.gpus.delete(key);
  }

  function removeEmptyRow(server: string): void {
    const row = rows.get(server);
    if (!row || row.gpus.size > 0 || model.rows.servers.has(server)) return;
    row.element.remove();
    rows.delete(server);
  }

  function drawCell(key: string, gpu: GpuRow): void {
    const { element, bar, label } = cellOf(key, gpu);
    element.className = `gpu ${gpu.state}`;
    const size = Math.max(gpu.total, gpu.held, 1);
    const segments = gpu.shares.map(({ namespace, units, state }) => {
      const segment = h("span", { class: `share ${colorOf(namespace)} ${state}` });
      segment.style.width = `${(units / size) * 100}%`;
      return segment;
    });
    bar.replaceChildren(...segments);
    setText(label, labelOf(gpu));
    element.setAttribute("aria-label", describe(gpu));
  }

  function drawServer(server: string): void {
    const row = rowOf(server);
    const { name, reachable, facts } = model.rows.servers.get(server) ?? NO_SERVER;
    let [held, total] = [0, 0];
    for (const key of row.gpus) {
      const gpu = model.rows.gpus.get(key);
      held += gpu?.held ?? 0;
      total += gpu?.total ?? 0;
    }
    setText(find("h3", row.element), name || server || "Unknown server");
    setText(find(".address", row.element), [server, ...facts].join(" · "));
    const away = reachable ? "" : " · does not answer";
    setText(find(".held", row.element), `${held} of ${total} units held${away}`);
    row.element.classList.toggle("away", !reachable);
  }

  function applyFilter(servers: Iterable<string>): void {
    for (const server of servers) {
      const row = rows.get(server);
      if (row) row.element.hidden = query !== "" && !matches(server, row);
    }
    const shown = query === "" ? rows.size : [...rows.values()].filter(({ element }) => !element.hidden).length;
    setText(count, query === "" ? String(rows.size) : `${shown} of ${rows.size}`);
    const isHidden = entry?.closest<HTMLElement>(".row")?.hidden;
    if (!isChosen || isHidden) setEntry(grid.querySelector<HTMLElement>(VISIBLE) ?? undefined);
  }

  function matches(server: string, row: Row): boolean {
    const { name = "" } = model.rows.servers.get(server) ?? {};
    if (isIn(server) || isIn(name)) return true;
    return [...row.gpus].some((key) => {
      const gpu = model.rows.gpus.get(key);
      if (!gpu) return false;
      const texts = [gpu.id, gpu.model, gpu.state, STATES[gpu.state] ?? "", ...gpu.taints];
      return texts.some(isIn) || gpu.shares.some(({ namespace, pod }) => isIn(`${namespace}/${pod}`));
    });
  }

  function isIn(text: string): boolean {
    return text.toLowerCase().includes(query);
  }

  function setEntry(element: HTMLElement | undefined): void {
    entry?.setAttribute("tabindex", "-1");
    element?.setAttribute("tabindex", "0");
    entry = element;
  }

  function choose(element: HTMLElement): void {
    isChosen = true;
    setEntry(element);
  }

  function moveTo(element: HTMLElement | undefined | null): void {
    if (!element) return;
    choose(element);
    element.focus();
  }

  grid.addEventListener("click", ({ target }) => {
    const cell = (target as Element).closest<HTMLElement>(".gpu");
    if (!cell) return;
    choose(cell);
    onChoose(cell.dataset.key ?? "");
  });
  grid.addEventListener("keydown", (event) => {
    const cell = (event.target as Element).closest<HTMLElement>(".gpu");
    if (!cell || event.ctrlKey || event.metaKey || event.altKey) return;
    const target = neighbour(cell, event.key);
    if (event.key === "Enter" || event.key === " ") onChoose(cell.dataset.key ?? "");
    else if (target === undefined) return;
    else moveTo(target);
    event.preventDefault();
  });

  return {
    update(servers, gpus) {
      const touched = new Set(servers);
      for (const key of gpus) {
        const gpu = model.rows.gpus.get(key);
        const before = cells.get(key)?.server;
        if (before !== undefined) touched.add(before);
        if (gpu) {
          drawCell(key, gpu);
          touched.add(gpu.server);
        } else removeCell(key);
      }
      for (const server of touched)
        if (model.rows.servers.has(server) || rows.get(server)?.gpus.size) drawServer(server);
      for (const server of touched) removeEmptyRow(server);
      applyFilter(touched);
    },
    filter(text) {
      query = text.trim().toLowerCase();
      applyFilter(rows.keys());
    },
  };
}

const NO_SERVER: ServerRow = { name: "", reachable: false, facts: [] };

/** The first cell of a row that is shown. */
const VISIBLE = ".row:not([hidden]) .gpu";

/** The cell that a key leads to: null at an edge, and undefined for another key. */
function neighbour(cell: HTMLElement, key: string): HTMLElement | null | undefined {
  const cells = cell.parentElement as HTMLElement;
  const row = cell.closest<HTMLElement>(".row") as HTMLElement;
  switch (key) {
    case "ArrowRight":
      return cell.nextElementSibling as HTMLElement | null;
    case "ArrowLeft":
      return cell.previousElementSibling as HTMLElement | null;
    case "Home":
      return cells.firstElementChild as HTMLElement | null;
    case "End":
      return cells.lastElementChild as HTMLElement | null;
    case "ArrowDown":
    case "ArrowUp": {
      const column = [...cells.children].indexOf(cell);
      const other = shownRow(row, key === "ArrowDown" ? "nextElementSibling" : "previousElementSibling");
      const others = other?.querySelectorAll<HTMLElement>(".gpu");
      return others?.[Math.min(column, others.length - 1)] ?? null;
    }
    default:
      return undefined;
  }
}

function shownRow(row: HTMLElement, direction: "nextElementSibling" | "previousElementSibling"): HTMLElement | null {
  let other = row[direction] as HTMLElement | null;
  while (other && (other.hidden || !other.querySelector(".gpu"))) other = other[direction] as HTMLElement | null;
  return other;
}

/** What a screen reader says about a GPU. */
function describe(gpu: GpuRow): string {
  const holders = gpu.shares.map(({ namespace, pod, claim, units }) => `${namespace}/${pod || claim} ${units} %`);
  const held = holders.length > 0 ? `held by ${holders.join(", ")}` : "held by nobody";
  return `${gpu.id}, ${gpu.model}; ${labelOf(gpu)}; ${held}`;
}

/** What is written on a GPU. */
function labelOf({ held, state }: GpuRow): string {
  const problem = STATES[state];
  return problem === undefined ? `${held} %` : `${held} % · ${problem}`;
}

/** Inserts an element where its sort key belongs. Most are inserted at the end. */
function insertSorted(parent: HTMLElement, element: HTMLElement, sortKey: string): void {
  element.dataset.sort = sortKey;
  let before: Element | null = null;
  let last = parent.lastElementChild as HTMLElement | null;
  while (last && (last.dataset.sort ?? "") > sortKey) {
    before = last;
    last = last.previousElementSibling as HTMLElement | null;
  }
  parent.insertBefore(element, before);
}

/** A text in which numbers sort by their value. */
function sortable(text: string): string {
  return text.replace(/\d{1,12}/g, (digits) => digits.padStart(12, "0"));
}
