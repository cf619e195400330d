import type { RefusalRow, WaitingRow } from "../state/wire.ts";
import { colorOf } from "./colors.ts";
import { find, h, keyedList, setText } from "./dom.ts";
import type { Model } from "./model.ts";
import { ago } from "./time.ts";

export interface ListsOptions {
  model: Model;
  onPod: (namespace: string, pod: string) => void;
  onNamespace: (namespace: string) => void;
}

/** The lists beside the grid. Each function draws one of them again. */
export interface Lists {
  waiting(): void;
  refusals(): void;
  notes(): void;
  holders(): void;
  totals(): void;
}

export function createLists({ model, onPod, onNamespace }: ListsOptions): Lists {
  const { rows } = model;
  const queue = keyedList<WaitingRow>(find("#waiting ol"), waitingItem);
  const refused = keyedList<RefusalRow>(find("#refusals ul"), refusalItem);
  const problems = keyedList<string>(find("#notes ul"), (text) => h("li", {}, text));
  const namespaces = keyedList<string>(find("#holders ul"), namespaceItem);

  function waitingItem({ namespace, pod, since, priority, reasons, requests }: WaitingRow): HTMLElement {
    const name = `${namespace}/${pod}`;
    const button = h("button", { class: "link", onClick: () => onPod(namespace, pod) }, name);
    button.dataset.key = name;
    return h(
      "li",
      {},
      h("p", { class: "head" }, button, " for ", ago(since), ...(priority === 0 ? [] : [`, priority ${priority}`])),
      h("p", { class: "request" }, requests.join(" and ")),
      h("p", { class: "reason" }, reasons[0] ?? "The pool has room: the scheduler has not decided yet"),
      ...(reasons.length > 1 ? [h("p", { class: "more" }, reasons.slice(1).join(" · "))] : []),
    );
  }

  function namespaceItem(text: string): HTMLElement {
    const [namespace = "", units = ""] = text.split(" ");
    const button = h("button", { class: "link", onClick: () => onNamespace(namespace) }, namespace);
    button.dataset.key = namespace;
    return h("li", {}, h("span", { class: `chip ${colorOf(namespace)}` }), button, ` ${units} units`);
  }

  return {
    waiting() {
      const sorted = [...rows.waiting].sort(([, a], [, b]) => b.priority - a.priority || compare(keyOf(a), keyOf(b)));
      queue.show(sorted);
      setText(find("#waiting .count"), String(sorted.length));
      find("#waiting .empty").hidden = sorted.length > 0;
    },
    refusals() {
      const sorted = [...rows.refusals].sort(([, a], [, b]) => compare(b.lastSeen, a.lastSeen));
      refused.show(sorted);
      setText(find("#refusals .count"), String(sorted.length));
      find("#refusals").hidden = sorted.length === 0;
    },
    notes() {
      problems.show([...rows.notes.keys()].sort().map((text) => [text, text]));
      find("#notes").hidden = rows.notes.size === 0;
    },
    holders() {
      const units = new Map<string, number>();
      for (const { shares } of rows.gpus.values()) {
        for (const share of shares) units.set(share.namespace, (units.get(share.namespace) ?? 0) + share.units);
      }
      const sorted = [...units].sort(([a, most], [b, least]) => least - most || compare(a, b));
      namespaces.show(sorted.map(([namespace, sum]) => [namespace, `${namespace} ${sum}`]));
    },
    totals() {
      const { servers = 0, gpus = 0, total = 0, held = 0, free = 0, blocked = 0 } = rows.totals.get("pool") ?? {};
      const texts: Readonly<Record<string, string>> = {
        Servers: String(servers),
        GPUs: String(gpus),
        "Units held": `${held} of ${total}${total > 0 ? ` (${Math.round((held / total) * 100)} %)` : ""}`,
        "Units free": String(free),
        "Units kept from new pods": String(blocked),
      };
      const list = find("#totals");
      for (const [term, text] of Object.entries(texts)) {
        const known = [...list.children].find(({ firstElementChild }) => firstElementChild?.textContent === term);
        if (known?.lastElementChild) setText(known.lastElementChild, text);
        else list.append(h("div", {}, h("dt", {}, term), h("dd", {}, text)));
      }
    },
  };
}

function refusalItem({ namespace, kind, name, message, lastSeen, count }: RefusalRow): HTMLElement {
  const times = count === 1 ? "once" : `${count} times`;
  return h(
    "li",
    {},
    h("p", { class: "head" }, `${kind} ${namespace}/${name}, ${times}, last `, ago(lastSeen), " ago"),
    h("p", { class: "reason" }, message),
  );
}

function keyOf({ since, namespace, pod }: WaitingRow): string {
  return `${since} ${namespace}/${pod}`;
}

function compare(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}
