import { expect, test } from "bun:test";
import { silentLog } from "../program/testing.ts";
import { createReviewLog } from "./fast/review_log.ts";
import { mutate } from "./injection/mutate.ts";
import type { JsonObject } from "./pod/json_object.ts";
import type { Pod } from "./pod/pod.ts";
import { createApp } from "./review/app.ts";
import { createMetrics } from "./review/metrics.ts";
import {
  bothSettings,
  FILTER,
  gpu,
  injected,
  MEMORY,
  MODE,
  NUM,
  PERCENT,
  pod,
  poolOf,
  reviewOf,
  UNITS,
} from "./testing.ts";
import { validate } from "./validation/validate.ts";

const HOSTILE = `\u001b[2J\u009b${"x".repeat(10_000)}`;
const settings = { ...bothSettings, pool: poolOf(2) };

/** Reviews a pod by both webhooks. Returns what their users read, and the lines of the log. */
async function review(given: Pod) {
  const lines: string[] = [];
  const app = createApp({
    mutate: (request) => mutate(request, settings),
    validate: (request) => validate(request, settings),
    log: silentLog,
    logReview: createReviewLog("webhook", (line) => lines.push(line)),
    metrics: createMetrics({ poolUnits: () => undefined }),
    notReady: () => undefined,
  });
  const messages: string[] = [];
  for (const path of ["mutate", "validate"]) {
    const response = await app.handle(
      new Request(`http://localhost/${path}`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(reviewOf(given)),
      }),
    );
    const { response: review } = (await response.json()) as {
      response: { allowed: boolean; warnings?: string[]; status?: { message: string } };
    };
    if (review.status) messages.push(review.status.message);
    for (const warning of review.warnings ?? []) messages.push(warning);
  }
  return { messages, lines };
}

const share = { [NUM]: 1, [PERCENT]: 50 };
const withAnnotation = (key: string) => pod([gpu()], { annotations: { [key]: HOSTILE } });
const mount = (changes: JsonObject) => ({ volumeMounts: [{ name: "own", mountPath: "/bitfusion", ...changes }] });

/** A pod attached by sidecar, with this argument of the sidecar. */
function forwarding(argument: string): Pod {
  const result = structuredClone(injected(pod([gpu({ command: [] })]), settings));
  result.spec.initContainers?.[0]?.command?.push("--container", argument);
  return result;
}

test.each<[field: string, pod: Pod]>([
  ["the mode", withAnnotation(MODE)],
  ["the client's system", withAnnotation("bitfusion-client/os")],
  ["the client's version", withAnnotation("bitfusion-client/version")],
  ["the filter", withAnnotation(FILTER)],
  ["the filter's value", pod([gpu()], { annotations: { [FILTER]: `device.name=${HOSTILE}` } })],
  ["many filters", pod([gpu()], { annotations: { [FILTER]: "device.name=x ".repeat(2000) } })],
  ["the claims", withAnnotation("bitfusion.io/claims")],
  [
    "a field of the claims",
    pod([gpu()], { annotations: { "bitfusion.io/claims": JSON.stringify([{ [HOSTILE]: 1 }]) } }),
  ],
  ["the number of GPUs", pod([gpu({}, { [NUM]: HOSTILE })])],
  ["the percentage", pod([gpu({}, { [NUM]: 1, [PERCENT]: HOSTILE })])],
  ["the memory", pod([gpu({}, { [NUM]: 1, [MEMORY]: HOSTILE })])],
  ["the units", pod([gpu({}, { [UNITS]: HOSTILE })])],
  ["the units beside a share", pod([gpu({}, { ...share, [UNITS]: HOSTILE })])],
  ["the name of a container with an invalid share", pod([gpu({ name: HOSTILE }, { [NUM]: 0 })])],
  [
    "the name of a container without command",
    pod([gpu({ name: HOSTILE, command: [] })], { annotations: { "bitfusion-client/os": "linux" } }),
  ],
  ["the name of a container that is attached by sidecar", pod([gpu({ name: HOSTILE, command: [] })])],
  ["the ports of the sidecar", forwarding(`a=1${HOSTILE}`)],
  ["the containers of the sidecar", forwarding(`${HOSTILE}=1`)],
  ["the name of a volume in the client's image", pod([gpu({ ...mount({ name: HOSTILE }), command: [] })])],
  [
    "the names of containers that the pool cannot hold",
    pod(["a", "b", "c"].map((name) => gpu({ name: name + HOSTILE }, { [NUM]: 1 }))),
  ],
  ["the name of a volume", pod([gpu(mount({ name: HOSTILE }))])],
  [
    "the path of a mount",
    pod([gpu({ volumeMounts: [{ name: "own", mountPath: `/${"y/../".repeat(2000)}bitfusion` }] })]),
  ],
  ["the node", injected(pod([gpu()]), settings)],
  ["a field that is no text", pod([gpu({ [HOSTILE]: 1, env: [{ name: HOSTILE, value: 1 }] })])],
])(
  "a pod with 10,000 characters and control characters in %s gets a short answer, and a short line of the log",
  async (_, given) => {
    const nodeName = given.spec.resourceClaims ? { nodeName: HOSTILE } : {};
    const named = { ...given, metadata: { ...given.metadata, name: undefined, generateName: HOSTILE } };
    const { messages, lines } = await review({ ...named, spec: { ...given.spec, ...nodeName } } as never);
    expect(messages.length + lines.length).toBeGreaterThan(2);
    for (const text of [...messages, ...lines.map((line) => line.trimEnd())]) {
      expect(text).not.toMatch(/\p{Cc}/u);
      expect(text).not.toMatch(/x{201}|(y\/\.\.\/){41}/);
      expect(text.length).toBeLessThan(2500);
    }
  },
);
