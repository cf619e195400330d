import { expect, test } from "bun:test";
import * as v from "valibot";
import { describeIssue } from "../../program/text/describe_issue.ts";
import { DataPlane } from "./configuration.ts";

const parse = (dataPlane: unknown) => v.safeParse(v.object({ dataPlane: DataPlane }), { dataPlane });

test("DataPlane is nothing by default", () => {
  expect(parse(undefined).output as unknown).toEqual({});
});

test("DataPlane knows how to start Lupine, and takes more variables", () => {
  const environment = { LD_LIBRARY_PATH: "/opt/lupine/lib", LUPINE_PORT: "1{port}" };
  expect(parse({ lupine: { build: "2026.9", environment } }).output as unknown).toEqual({
    dataPlane: {
      name: "lupine",
      build: "2026.9",
      command: ["lupine_driver_server"],
      environment: { CUDA_VISIBLE_DEVICES: "{gpuUuids}", ...environment },
      folder: "/run/bitfusion-server",
      firstUid: 2_000_000_000,
      memoryTolerance: 512,
    },
  });
});

test("DataPlane takes any other program", () => {
  const custom = {
    name: "mine",
    build: "1",
    command: ["/opt/mine", "--port", "{port}"],
  };
  const common = { folder: "/run/x", firstUid: 5000 };
  expect(parse({ custom, ...common, memoryTolerance: "1G" }).output as unknown).toEqual({
    dataPlane: { ...custom, ...common, environment: {}, memoryTolerance: 1000 },
  });
});

test("DataPlane takes a limiter, which limits memory by default", () => {
  const library = "/opt/hami/libvgpu.so";
  const limiterOf = (limiter: object) => parse({ lupine: { build: "1" }, limiter }).output as unknown;
  expect(limiterOf({ library })).toMatchObject({ dataPlane: { limiter: { library, limits: "memory" } } });
  const both = { library, limits: "memory-and-compute" };
  expect(limiterOf(both)).toMatchObject({ dataPlane: { limiter: both } });
});

const EXPECTED = "expected a mapping with the key lupine or custom";
const PLACEHOLDERS = "{port}, {gpuUuids}, {gpuIndexes}, {percent}, {memoryMb}, {leaseFolder}";
const custom = { name: "mine", build: "1", command: ["a"] };

test.each([
  ["another word", "lupine", `dataPlane is "lupine": ${EXPECTED}`],
  ["an empty mapping", {}, `dataPlane: ${EXPECTED}`],
  ["two data planes", { lupine: { build: "1" }, custom }, `dataPlane: ${EXPECTED}`],
  ["an unknown data plane", { cuda: {} }, "dataPlane.cuda is not a known field"],
  ["no build", { lupine: {} }, "dataPlane.lupine.build is not set"],
  [
    "a build that is a number",
    { lupine: { build: 1.2 } },
    "dataPlane.lupine.build is 1.2: expected text, in quotes where it is a number",
  ],
  [
    "a command line",
    { custom: { ...custom, command: "a b" } },
    'dataPlane.custom.command is "a b": expected a list: a program and its arguments',
  ],
  [
    "an empty command",
    { custom: { ...custom, command: [] } },
    "dataPlane.custom.command: expected a list: a program and its arguments",
  ],
  [
    "an unknown placeholder in an argument",
    { custom: { ...custom, command: ["a", "{port}{gpus}"] } },
    `dataPlane.custom.command.1 is "{port}{gpus}": expected no placeholders but ${PLACEHOLDERS}`,
  ],
  [
    "an unknown placeholder in a variable",
    { custom: { ...custom, environment: { A: "{Port}" } } },
    `dataPlane.custom.environment.A is "{Port}": expected no placeholders but ${PLACEHOLDERS}`,
  ],
  [
    "a variable that is no name",
    { custom: { ...custom, environment: { "A=B": "1" } } },
    'dataPlane.custom.environment.A=B is "A=B": expected the name of a variable',
  ],
  [
    "uids of people",
    { custom, firstUid: 500 },
    "dataPlane.firstUid is 500: expected the first of 102400 uids that nothing else uses, from 1000 to 4294864894",
  ],
  [
    "a limiter in the folder of temporary files",
    { custom, limiter: { library: "/tmp/libvgpu.so" } },
    'dataPlane.limiter.library is "/tmp/libvgpu.so": expected an absolute path, not in /tmp, /var/tmp or /dev/shm, which processes do not see',
  ],
  [
    "a limiter of something else",
    { custom, limiter: { library: "/opt/libvgpu.so", limits: "compute" } },
    'dataPlane.limiter.limits is "compute": expected memory or memory-and-compute',
  ],
  [
    "a variable of the limiter",
    { custom: { ...custom, environment: { LD_PRELOAD: "/opt/a.so" } }, limiter: { library: "/opt/libvgpu.so" } },
    "dataPlane: expected an environment without LD_PRELOAD, CUDA_REDIRECT, CUDA_DEVICE_MEMORY_* and CUDA_DEVICE_SM_LIMIT*: the limiter sets them",
  ],
  ["a relative folder", { custom, folder: "run" }, 'dataPlane.folder is "run": expected an absolute path'],
])("DataPlane rejects %s", (_, dataPlane, reason) => {
  const { issues } = parse(dataPlane);
  expect(issues && describeIssue(issues[0])).toBe(reason);
});
