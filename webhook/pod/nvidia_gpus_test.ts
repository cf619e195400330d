import { expect, test } from "bun:test";
import { mutate } from "../injection/mutate.ts";
import {
  claimSettings,
  deepFreeze,
  gpu,
  injected,
  MODE,
  mutated,
  NUM,
  PERCENT,
  pod,
  requestOf,
  settings,
  UNITS,
  withNumberedClaims,
} from "../testing.ts";
import { validate } from "../validation/validate.ts";
import type { Container, Pod } from "./pod.ts";

const NVIDIA = "nvidia.com/gpu";

type List = Record<string, string | number>;

/** A container as the API server sends it: requests default to limits. */
function nvidia(limits: List, requests: List = limits, extra: Partial<Container> = {}): Container {
  return gpu({ resources: { limits, requests }, ...extra });
}

function annotated(percent: string | undefined, ...containers: Container[]): Pod {
  return pod(containers, percent === undefined ? {} : { annotations: { [PERCENT]: percent } });
}

test.each<[description: string, given: Pod, limits: List]>([
  ["one GPU", annotated(undefined, nvidia({ [NVIDIA]: "1" })), { [UNITS]: "100" }],
  ["a number", annotated(undefined, nvidia({ [NVIDIA]: 1 })), { [UNITS]: "100" }],
  ["two GPUs", annotated(undefined, nvidia({ [NVIDIA]: "2" })), { [UNITS]: "200" }],
  ["a percentage of each", annotated("25", nvidia({ [NVIDIA]: "2" })), { [UNITS]: "50" }],
  ["no request beside the limit", annotated("1", nvidia({ [NVIDIA]: "1" }, {})), { [UNITS]: "1" }],
  ["a request alone", annotated("100", nvidia({}, { [NVIDIA]: "1" })), { [UNITS]: "100" }],
  [
    "GPUs of other names beside them",
    annotated(undefined, nvidia({ cpu: "2", [NVIDIA]: "1", "amd.com/gpu": "1", "nvidia.com/mig-1g.5gb": "1" })),
    { cpu: "2", "amd.com/gpu": "1", "nvidia.com/mig-1g.5gb": "1", [UNITS]: "100" },
  ],
])("mutate() replaces %s by the units of a share, as limits and as requests", (_, given, limits) => {
  const [container] = mutated(given).spec.containers;
  expect(container?.resources?.limits).toEqual(limits);
  expect(Object.keys(container?.resources?.requests ?? {})).not.toContain(NVIDIA);
  expect(container?.resources?.requests?.[UNITS]).toBe(limits[UNITS] as string);
});

test("mutate() treats nvidia.com/gpu in every list of containers as it treats the share that it stands for", () => {
  const initContainers = [nvidia({ [NVIDIA]: 1 }, {}, { name: "warm-up" }), { name: "plain", image: "curl" }];
  const containers = [nvidia({ [NVIDIA]: 1 }, {}), { name: "proxy", image: "envoy" }, gpu({ name: "own" })];
  const given = pod(containers, { spec: { initContainers }, annotations: { [PERCENT]: "40" } });
  const share = { [NUM]: 1, [PERCENT]: 40 };
  const equal = pod([gpu({}, share), { name: "proxy", image: "envoy" }, gpu({ name: "own" })], {
    spec: { initContainers: [gpu({ name: "warm-up" }, share), { name: "plain", image: "curl" }] },
    annotations: { [PERCENT]: "40" },
  });
  expect(withNumberedClaims(mutated(given, claimSettings))).toEqual(withNumberedClaims(injected(equal, claimSettings)));
  expect(validate(requestOf(mutated(given, claimSettings)), claimSettings)).toMatchObject({ reason: "valid" });
  expect(mutate(requestOf(mutated(given)), settings)).toMatchObject({ reason: "already_injected", warnings: [] });
});

test.each<[description: string, given: Pod]>([
  ["for no GPU", annotated(undefined, nvidia({ [NVIDIA]: "0" }))],
  ["for GPUs of other names", annotated(undefined, nvidia({ "nvidia.com/mig-1g.5gb": 1, "amd.com/gpu": 1 }))],
  ["of a pod that is annotated none", pod([nvidia({ [NVIDIA]: 1 })], { annotations: { [MODE]: "none" } })],
  ["of a pod without the annotation", { metadata: {}, spec: { containers: [nvidia({ [NVIDIA]: 1 })] } }],
  ["of a Windows pod", pod([nvidia({ [NVIDIA]: 1 })], { spec: { os: { name: "windows" } } })],
])("mutate() and validate() leave a limit %s alone", (_, given) => {
  expect(mutate(requestOf(deepFreeze(given)), settings).result).toBe("allowed");
  expect(validate(requestOf(given), settings).result).toBe("allowed");
});

test("with READ_NVIDIA_GPU=off, mutate() and validate() leave nvidia.com/gpu and the percentage alone", () => {
  const off = { ...settings, readNvidiaGpu: false };
  const given = annotated("half", nvidia({ [NVIDIA]: 1 }));
  expect(mutate(requestOf(given), off)).toMatchObject({ result: "allowed", reason: "no_share" });
  expect(validate(requestOf(given), off).result).toBe("allowed");
  const both = pod([gpu({}, { [NUM]: 1, [NVIDIA]: 2 })]);
  expect(mutated(both, off).spec.containers[0]?.resources?.limits).toEqual({ [NVIDIA]: 2, [UNITS]: "100" });
});

test.each<[description: string, given: Pod, message: string]>([
  ...["0", "101", "2.5", "half", "", "50%"].map((value): [string, Pod, string] => [
    `the percentage "${value}"`,
    annotated(value, nvidia({ [NVIDIA]: 1 })),
    `Annotation ${PERCENT} is "${value}": expected a whole number from 1 to 100`,
  ]),
  [
    "a share beside GPUs",
    annotated(undefined, nvidia({ [NVIDIA]: "1", [NUM]: "2" })),
    `Container "train": limits["${NVIDIA}"] is "1", but limits["${NUM}"] is "2": set one of the two`,
  ],
  [
    "a percentage of the container beside GPUs",
    annotated(undefined, nvidia({ [NVIDIA]: "1" }, { [NVIDIA]: "1", [PERCENT]: "50" })),
    `Container "train": limits["${NVIDIA}"] is "1", but requests["${PERCENT}"] is "50": set one of the two`,
  ],
  [
    "GPUs in a container that has a share already",
    annotated(
      undefined,
      nvidia({ [NVIDIA]: "1", [UNITS]: "50" }, {}, { env: [{ name: "BITFUSION_CONTAINER", value: "train" }] }),
    ),
    `Container "train": limits["${NVIDIA}"] is "1", but limits["${UNITS}"] is "50": set one of the two`,
  ],
  [
    "a part of a GPU",
    annotated(undefined, nvidia({ [NVIDIA]: "500m" })),
    `Container "train": limits["${NVIDIA}"] is "500m": expected a whole number from 1 to 1000000`,
  ],
  [
    "text",
    annotated(undefined, nvidia({ [NVIDIA]: "all" })),
    `Container "train": limits["${NVIDIA}"] is "all": expected a whole number from 1 to 1000000`,
  ],
  [
    "limits that differ from requests",
    annotated(undefined, nvidia({ [NVIDIA]: "2" }, { [NVIDIA]: "1" })),
    `Container "train": limits["${NVIDIA}"] is "2", but requests["${NVIDIA}"] is "1": set both to the same value`,
  ],
])("mutate() refuses %s", (_, given, message) => {
  expect(mutate(requestOf(given), settings)).toEqual({ result: "denied", reason: "share", message });
});

test("mutate() warns about a percentage for which there are no GPUs, but not on its own output", () => {
  const warning = `Annotation ${PERCENT} has no effect: no container has a limit ${NVIDIA}`;
  const given = annotated("50", gpu());
  expect(mutate(requestOf(given), settings)).toMatchObject({ result: "patched", warnings: [warning] });
  expect(mutate(requestOf(mutated(given)), settings).warnings).toEqual([]);
  expect(mutate(requestOf(annotated("50", nvidia({ [NVIDIA]: 1 }))), settings).warnings).toEqual([]);
  expect(mutate(requestOf(annotated("50", { name: "a" })), settings).warnings).toContain(warning);
});

test("validate() refuses GPUs that were added after injection: no node has them", () => {
  const late = mutated(pod([gpu()]));
  late.spec.containers.push(nvidia({ [NVIDIA]: "1" }, {}, { name: "late" }));
  expect(validate(requestOf(late), settings)).toEqual({
    result: "denied",
    reason: "injection",
    message: `Container "late": ${NVIDIA} is "1", which was added after the webhook had patched the pod: expected it in the pod as it is created`,
  });
});
