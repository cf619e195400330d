import { expect, test } from "bun:test";
import type { Pod } from "../../kubernetes/objects/pod.ts";
import { type Cluster, claim, device, pod, slice } from "./testing.ts";
import { viewPool } from "./view.ts";
import { wayOfPod } from "./way.ts";

const A = "bitfusion-0/a";

/** The steps of a pod, each as `name state text`; those that come later by name alone. */
function stepsOf(pod: Pod, claims: Cluster["claims"] = []): string[] {
  const slices = [slice("bitfusion-0", [device("a", "s:1")])];
  const { steps } = wayOfPod(pod, viewPool({ slices, claims, pods: [pod] }));
  return steps.map(({ name, state, text }) => (state === "later" ? `${name} later` : `${name} ${state}: ${text}`));
}

const ADMITTED = "admission done: Admitted with 50 units of bitfusion.io/gpu";
const ALLOCATED = [ADMITTED, "claims done: Its claim exists", "allocation done: Holds 50 % of s:1/a"];
const BOUND = [...ALLOCATED, "node done: Bound to node node-1"];
const held = (options: Parameters<typeof claim>[1] = {}) => [claim("train", { held: [[A, 50]], ...options })];
const running = pod("train", { node: "node-1", phase: "Running" });

test("wayOfPod() says that a pod asks for no share", () => {
  const other: Pod = { ...pod("train"), metadata: { name: "train", namespace: "team" }, spec: { containers: [] } };
  const [first, ...others] = stepsOf(other);
  expect(first).toStartWith("admission failed: The pod requests no share of the pool");
  expect(others).toEqual(["claims later", "allocation later", "node later", "lease later", "containers later"]);
});

test.each<[description: string, steps: string[], expected: string[]]>([
  [
    "without its claim",
    stepsOf(pod("train")),
    [ADMITTED, "claims waiting: its claim train does not exist yet", "allocation later", "node later"],
  ],
  [
    "for which the pool lacks room",
    stepsOf(pod("train"), [claim("other", { held: [[A, 60]] }), claim("train")]),
    [
      ADMITTED,
      "claims done: Its claim exists",
      "allocation waiting: needs 50 % of one GPU; the freest has 40 %",
      "node later",
    ],
  ],
  [
    "for which the pool has room",
    stepsOf(pod("train"), [claim("train")]),
    [
      ADMITTED,
      "claims done: Its claim exists",
      "allocation waiting: The pool has room: the scheduler has not decided yet",
      "node later",
    ],
  ],
  [
    "without a node",
    stepsOf(pod("train", { message: "no node has 4 CPUs" }), held()),
    [...ALLOCATED, "node waiting: no node has 4 CPUs", "lease later", "containers later"],
  ],
  [
    "without a lease",
    stepsOf(pod("train", { node: "node-1" }), held()),
    [...BOUND, "lease waiting: The driver on the node takes it from the pool servers", "containers later"],
  ],
  [
    "that lost its lease",
    stepsOf(running, held({ ready: "False", message: "Cannot renew the lease on GPU s:1/a: no answer" })),
    [...BOUND, "lease failed: Cannot renew the lease on GPU s:1/a: no answer", "containers later"],
  ],
  [
    "that runs",
    stepsOf(running, held({ ready: "True" })),
    [...BOUND, "lease done: Held on s:1", "containers done: They run"],
  ],
  [
    "whose image cannot be pulled",
    stepsOf(
      {
        ...running,
        status: {
          phase: "Pending",
          containerStatuses: [
            { name: "main", state: { waiting: { reason: "ErrImagePull", message: "no such image" } } },
          ],
        },
      },
      held({ ready: "True" }),
    ),
    [...BOUND, "lease done: Held on s:1", "containers waiting: main: ErrImagePull: no such image"],
  ],
])("wayOfPod() tells the way of a pod %s", (_, steps, expected) => {
  expect(steps.slice(0, expected.length)).toEqual(expected);
});
