import { expect, test } from "bun:test";
import type { Share } from "../../pool/share.ts";
import type { Container } from "./pod.ts";
import { Refusal } from "./refusal.ts";
import { readShare } from "./requested_share.ts";

type List = Record<string, string | number>;

const NUM = "bitfusion.io/gpu-num";
const AMOUNT = "bitfusion.io/gpu-amount";
const PERCENT = "bitfusion.io/gpu-percent";
const MEMORY = "bitfusion.io/gpu-memory";
const UNITS = "bitfusion.io/gpu";

function container(limits?: List, requests?: List): Container {
  return { name: "train", resources: { ...(limits ? { limits } : {}), ...(requests ? { requests } : {}) } };
}

test.each<[description: string, limits: List | undefined, requests: List | undefined, share: Share]>([
  ["a whole GPU if only the number is set", { [NUM]: 1 }, undefined, { gpus: 1, percent: 100 }],
  ["number and percent", { [NUM]: "2", [PERCENT]: "50" }, undefined, { gpus: 2, percent: 50 }],
  ["1 percent", { [NUM]: 1, [PERCENT]: 1 }, undefined, { gpus: 1, percent: 1 }],
  ["100 percent", { [NUM]: 1, [PERCENT]: 100 }, undefined, { gpus: 1, percent: 100 }],
  ["1e2 for 100 percent", { [NUM]: 1, [PERCENT]: "1e2" }, undefined, { gpus: 1, percent: 100 }],
  ["2000m for two GPUs", { [NUM]: "2000m" }, undefined, { gpus: 2, percent: 100 }],
  ["gpu-amount instead of gpu-num", { [AMOUNT]: 3 }, undefined, { gpus: 3, percent: 100 }],
  ["both names if they agree", { [NUM]: "1k", [AMOUNT]: "1000" }, undefined, { gpus: 1000, percent: 100 }],
  ["requests alone", undefined, { [NUM]: 1, [PERCENT]: 20 }, { gpus: 1, percent: 20 }],
  ["requests that agree with limits", { [NUM]: 1 }, { [NUM]: "1" }, { gpus: 1, percent: 100 }],
  ["one key in limits, another in requests", { [NUM]: 1 }, { [PERCENT]: 30 }, { gpus: 1, percent: 30 }],
  ["memory in MB", { [NUM]: 1, [MEMORY]: "8000M" }, undefined, { gpus: 1, memoryMb: 8000 }],
  ["memory in GiB, rounded up to MB", { [NUM]: 1, [MEMORY]: "8Gi" }, undefined, { gpus: 1, memoryMb: 8590 }],
  ["one byte more than a MB, rounded up", { [NUM]: 1, [MEMORY]: 1_000_001 }, undefined, { gpus: 1, memoryMb: 2 }],
  ["a single byte, rounded up", { [NUM]: 4, [MEMORY]: "1" }, undefined, { gpus: 4, memoryMb: 1 }],
  ["units as percent of one GPU", { [UNITS]: 50 }, undefined, { gpus: 1, percent: 50 }],
  ["units of whole GPUs without a number", { [UNITS]: 300 }, undefined, { gpus: 3, percent: 100 }],
  ["100 units as one GPU", { [UNITS]: "100" }, { [UNITS]: "100" }, { gpus: 1, percent: 100 }],
  ["units of one GPU", { [NUM]: 1, [UNITS]: 50 }, undefined, { gpus: 1, percent: 50 }],
  ["units of several GPUs", { [AMOUNT]: 3, [UNITS]: "150" }, undefined, { gpus: 3, percent: 50 }],
  ["whole GPUs in units", { [NUM]: 2, [UNITS]: "200" }, undefined, { gpus: 2, percent: 100 }],
  ["units in requests alone", undefined, { [UNITS]: "7" }, { gpus: 1, percent: 7 }],
])("readShare() reads %s", (_, limits, requests, share) => {
  expect(readShare(container(limits, requests))).toEqual(share);
});

test.each<[description: string, container: Container]>([
  ["no resources", { name: "a" }],
  ["empty resources", { name: "a", resources: {} }],
  ["other resources in limits and requests", container({ cpu: 1, "nvidia.com/gpu": 1 }, { memory: "1Gi" })],
  [
    "units that the webhook has injected",
    { ...container({ [UNITS]: 50 }, { [UNITS]: 50 }), env: [{ name: "BITFUSION_CONTAINER", value: "train" }] },
  ],
])("readShare() returns undefined for a container with %s", (_, without) => {
  expect(readShare(without)).toBeUndefined();
});

test.each<[description: string, limits: List | undefined, requests: List | undefined, message: string]>([
  [
    "a percent above 100, and names the container, the key, the value and the range",
    { [NUM]: 1, [PERCENT]: 101 },
    undefined,
    `Container "train": limits["${PERCENT}"] is "101": expected a whole number from 1 to 100`,
  ],
  [
    "0 percent",
    { [NUM]: 1, [PERCENT]: 0 },
    undefined,
    `Container "train": limits["${PERCENT}"] is "0": expected a whole number from 1 to 100`,
  ],
  [
    "500m percent",
    { [NUM]: 1, [PERCENT]: "500m" },
    undefined,
    `Container "train": limits["${PERCENT}"] is "500m": expected a whole number from 1 to 100`,
  ],
  [
    "a percent that is text",
    undefined,
    { [NUM]: 1, [PERCENT]: "half" },
    `Container "train": requests["${PERCENT}"] is "half": expected a whole number from 1 to 100`,
  ],
  [
    "500m GPUs",
    { [NUM]: "500m" },
    undefined,
    `Container "train": limits["${NUM}"] is "500m": expected a whole number from 1 to 1000000`,
  ],
  [
    "0 GPUs",
    { [NUM]: 0 },
    undefined,
    `Container "train": limits["${NUM}"] is "0": expected a whole number from 1 to 1000000`,
  ],
  [
    "-1 GPUs",
    { [AMOUNT]: -1 },
    undefined,
    `Container "train": limits["${AMOUNT}"] is "-1": expected a whole number from 1 to 1000000`,
  ],
  [
    "a percent without a number",
    { [PERCENT]: 50 },
    undefined,
    `Container "train": limits["${NUM}"] is not set: expected the number of GPUs`,
  ],
  [
    "memory without a number",
    undefined,
    { [MEMORY]: "8Gi" },
    `Container "train": limits["${NUM}"] is not set: expected the number of GPUs`,
  ],
  [
    "two names that disagree",
    { [NUM]: 1, [AMOUNT]: 2 },
    undefined,
    `Container "train": limits["${AMOUNT}"] is "2", but limits["${NUM}"] is "1": both mean the number of GPUs, set one`,
  ],
  [
    "both percent and memory",
    { [NUM]: 1, [PERCENT]: 50, [MEMORY]: "8Gi" },
    undefined,
    `Container "train": limits["${MEMORY}"] is "8Gi", but limits["${PERCENT}"] is "50": set one of the two`,
  ],
  [
    "a request that differs from its limit",
    { [NUM]: 2 },
    { [NUM]: 1 },
    `Container "train": limits["${NUM}"] is "2", but requests["${NUM}"] is "1": set both to the same value`,
  ],
  [
    "0 bytes of memory",
    { [NUM]: 1, [MEMORY]: 0 },
    undefined,
    `Container "train": limits["${MEMORY}"] is "0": expected memory of each GPU, such as 8000M or 8Gi`,
  ],
  [
    "memory that is not a quantity",
    { [NUM]: 1, [MEMORY]: "8GB" },
    undefined,
    `Container "train": limits["${MEMORY}"] is "8GB": expected memory of each GPU, such as 8000M or 8Gi`,
  ],
  [
    "units of parts of several GPUs, without their number",
    { [UNITS]: 150 },
    undefined,
    `Container "train": limits["${UNITS}"] is "150": expected 1 to 100, the units of one GPU, or a multiple of 100, those of whole GPUs; for parts of several GPUs, set ${NUM} too`,
  ],
  [
    "0 units",
    { [UNITS]: 0 },
    undefined,
    `Container "train": limits["${UNITS}"] is "0": expected 1 to 100, the units of one GPU, or a multiple of 100, those of whole GPUs; for parts of several GPUs, set ${NUM} too`,
  ],
  [
    "units of more GPUs than any pool has",
    { [UNITS]: "100000100" },
    undefined,
    `Container "train": limits["${UNITS}"] is "100000100": expected 1 to 100, the units of one GPU, or a multiple of 100, those of whole GPUs; for parts of several GPUs, set ${NUM} too`,
  ],
  [
    "units that do not divide by the number of GPUs",
    { [NUM]: 4, [UNITS]: 150 },
    undefined,
    `Container "train": limits["${UNITS}"] is "150", but limits["${NUM}"] is "4": expected a multiple of 4 from 4 to 400`,
  ],
  [
    "more units than the GPUs have",
    { [NUM]: 1, [UNITS]: "101" },
    undefined,
    `Container "train": limits["${UNITS}"] is "101", but limits["${NUM}"] is "1": expected a whole number from 1 to 100`,
  ],
  [
    "units in requests that differ from limits",
    { [UNITS]: 50 },
    { [UNITS]: 40 },
    `Container "train": limits["${UNITS}"] is "50", but requests["${UNITS}"] is "40": set both to the same value`,
  ],
  [
    "more memory than any GPU has",
    { [NUM]: 1, [MEMORY]: "1P" },
    undefined,
    `Container "train": limits["${MEMORY}"] is "1P": expected memory of each GPU, such as 8000M or 8Gi`,
  ],
])("readShare() refuses %s", (_, limits, requests, message) => {
  expect(() => readShare(container(limits, requests))).toThrow(new Refusal("share", message));
});
