import type { GpuRow, PodWayRow, ShareRow } from "../state/wire.ts";
import { colorOf } from "./colors.ts";
import { find, h, replace, setText } from "./dom.ts";
import type { Model } from "./model.ts";
import { ago } from "./time.ts";

/** What the dialog shows. */
type Subject = { readonly gpu: string } | { readonly namespace: string; readonly pod: string };

export interface Details {
  showGpu(key: string): void;
  showPod(namespace: string, pod: string): void;
  /** Draws the subject again. */
  update(): void;
}

/** How long the program may take to tell the way of a pod, in ms. */
const TIMEOUT = 10_000;

/** What the states of steps are called. */
const STEPS: Readonly<Record<string, string>> = {
  done: "done",
  waiting: "waits here",
  failed: "failed",
  later: "later",
};

/** The dialog about a GPU or a pod. It closes with Escape, and gives the focus back to where it came from. */
export function createDetails(model: Model): Details {
  const dialog = find<HTMLDialogElement>("#details");
  const title = find("#details-title");
  let body = find("#details-body");
  let subject: Subject | undefined;
  let drawn: GpuRow | undefined;
  let request = new AbortController();

  function open(next: Subject): void {
    subject = next;
    drawn = undefined;
    setBody(); // that of another subject must not stand below this title
    draw();
    if (!dialog.open) dialog.showModal();
    title.focus();
  }

  function setBody(...children: Node[]): void {
    const next = h("div", { attributes: { id: "details-body" } }, ...children);
    replace(body, next);
    body = next;
  }

  function draw(): void {
    if (!subject) return;
    if ("gpu" in subject) drawGpu(model.rows.gpus.get(subject.gpu));
    else void drawPod(subject);
  }

  function drawGpu(gpu: GpuRow | undefined): void {
    if (gpu === drawn && gpu) return;
    drawn = gpu;
    if (!gpu) {
      setBody(h("p", {}, "This GPU has left the pool."));
      return;
    }
    setText(title, `GPU ${gpu.id}`);
    const server = model.rows.servers.get(gpu.server);
    setBody(
      facts([
        ["Model", gpu.model || "unknown"],
        ["Memory", gpu.memoryMb > 0 ? `${gpu.memoryMb} MB` : "unknown"],
        ["Server", [server?.name, gpu.server].filter(Boolean).join(", ")],
        ["State", gpu.state],
        ["Units", `${gpu.held} held, ${gpu.free} free, ${gpu.blocked} not given to new pods`],
        ...gpu.taints.map((taint): [string, string] => ["Taint", taint]),
      ]),
      h("h3", {}, gpu.shares.length > 0 ? "Held by" : "Nobody holds it"),
      h("ul", { class: "shares" }, ...gpu.shares.map(shareItem)),
    );
  }

  function shareItem(share: ShareRow): HTMLElement {
    const { namespace, pod, claim, units, state, node, since, message, containers } = share;
    const holder = pod === "" ? h("span", {}, `claim ${namespace}/${claim}`) : podButton(namespace, pod);
    return h(
      "li",
      {},
      h("span", { class: `chip ${colorOf(namespace)}` }),
      holder,
      h("span", {}, ` ${units} %, ${state}${node ? `, on ${node}` : ""}, for `),
      ago(since),
      ...(containers.length > 0 ? [h("p", {}, `Containers: ${containers.join(", ")}`)] : []),
      ...(message ? [h("p", { class: "message" }, message)] : []),
    );
  }

  function podButton(namespace: string, pod: string): HTMLElement {
    const name = `${namespace}/${pod}`;
    const button = h("button", { class: "link", onClick: () => open({ namespace, pod }) }, name);
    button.dataset.key = name;
    return button;
  }

  async function drawPod({ namespace, pod }: { namespace: string; pod: string }): Promise<void> {
    setText(title, `Pod ${namespace}/${pod}`);
    request.abort();
    request = new AbortController();
    const { signal } = request;
    const way = await fetchWay(namespace, pod, signal).catch((error) => String(error));
    if (signal.aborted) return;
    if (typeof way === "string") setBody(h("p", {}, way));
    else setBody(h("ol", { class: "way" }, ...way.steps.map(stepItem)));
  }

  dialog.addEventListener("close", () => {
    subject = undefined;
    request.abort();
  });
  return {
    showGpu: (gpu) => open({ gpu }),
    showPod: (namespace, pod) => open({ namespace, pod }),
    update: draw,
  };
}

async function fetchWay(namespace: string, pod: string, signal: AbortSignal): Promise<PodWayRow | string> {
  const path = `pods/${encodeURIComponent(namespace)}/${encodeURIComponent(pod)}`;
  const response = await fetch(path, { signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT)]) });
  if (response.status === 404) return "This pod does not exist any more.";
  if (!response.ok) return `The page's program answered ${response.status}.`;
  return response.json();
}

function stepItem({ name, state, text }: PodWayRow["steps"][number]): HTMLElement {
  const head = h("span", { class: "step" }, name, h("span", { class: "state" }, STEPS[state] ?? state));
  return h("li", { class: state }, head, h("p", {}, text));
}

function facts(entries: readonly (readonly [term: string, text: string])[]): HTMLElement {
  return h("dl", {}, ...entries.flatMap(([term, text]) => [h("dt", {}, term), h("dd", {}, text)]));
}
