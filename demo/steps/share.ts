import { PODS, type Pod } from "../../kubernetes/objects/pod.ts";
import { explain, heading, table } from "../print.ts";
import { waitFor } from "../wait_for.ts";
import type { Demo } from "./demo.ts";
import { gpuIdOf, showLeases } from "./leases.ts";
import { createPod, devicesOf, finishTraining, readManifest, waitForPhase } from "./pods.ts";
import { showView } from "./view.ts";

const NAMES = ["train-1", "train-2", "train-3", "train-4"] as const;
const [FIRST, SECOND, THIRD, FOURTH] = NAMES;

/** The fields of an Event (k8s.io/api/core/v1) that the demo shows. */
interface Event {
  readonly involvedObject: { readonly name: string };
  readonly reason: string;
  readonly message: string;
  readonly reportingComponent: string;
}

/** Runs four pods of 60 % on three GPUs. */
export async function showSharing(number: number, demo: Demo): Promise<void> {
  heading(number, "Four pods of 60 % on three GPUs", "Three run. The fourth waits, though 3 × 40 % are free:");
  for (const name of NAMES) await createPod(demo, await readManifest(name));
  for (const name of [FIRST, SECOND, THIRD]) await waitForPhase(demo, name, "Running");
  await showPods(demo);
  explain("The pool servers have granted leases on exactly these GPUs:");
  await showLeases(demo, [FIRST, SECOND, THIRD]);

  explain(`The controller tells ${FOURTH} after five seconds why it waits (kubectl describe pod ${FOURTH}):`);
  const { reason, reportingComponent, message } = await waitForEvent(demo, FOURTH);
  table(["REASON", "FROM", "MESSAGE"], [[reason, reportingComponent, message]]);
  showView(demo);

  explain(`${SECOND} ends, and ${FOURTH} gets its GPU:`);
  await finishTraining(demo, SECOND);
  await waitForPhase(demo, FOURTH, "Running");
  await showPods(demo);
  explain("The leases have followed:");
  await showLeases(demo, [FIRST, THIRD, FOURTH]);

  explain("The other pods end:");
  for (const name of [FIRST, THIRD, FOURTH]) await finishTraining(demo, name);
  await showLeases(demo, []);
}

async function showPods(demo: Demo): Promise<void> {
  const rows: string[][] = [];
  for (const pod of demo.store.list<Pod>(PODS)) {
    if (!NAMES.some((name) => name === pod.metadata.name)) continue;
    const gpus = await Promise.all(devicesOf(demo, pod).map((device) => gpuIdOf(demo, device)));
    rows.push([pod.metadata.name, pod.status?.phase ?? "Pending", gpus.join(", ") || "-"]);
  }
  table(["POD", "STATUS", "GPU"], rows);
}

async function waitForEvent({ store, signal }: Demo, pod: string): Promise<Event> {
  const find = () => store.list<Event>("/api/v1/events").find(({ involvedObject }) => involvedObject.name === pod);
  return waitFor(`an event of pod ${pod}`, find, signal);
}
