import { expect, test } from "bun:test";
import { mkdtempDisposable, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { stringify } from "yaml";
import { buildStandIn, HAS_COMPILER, writeStandIn } from "../../server/gpus/nvidia/testing/nvml_stand_in.ts";
import { CAN_ISOLATE } from "../../server/testing.ts";

async function gpuCheck(...args: readonly string[]) {
  const child = Bun.spawn([process.execPath, join(import.meta.dir, "main.ts"), ...args], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  const [output, errors, status] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  return { lines: output.trimEnd().split("\n"), errors, status };
}

/** Writes a configuration with a stand-in for NVML, which has one GPU, and this data plane. */
async function writeConfiguration(folder: string, dataPlane?: object): Promise<string> {
  const state = join(folder, "state");
  const gpu = { uuid: "GPU-8dee6ce5-8b1e-4d5c-a8c6-1d7ee2e6a6ab", memory: 16_106_127_360, name: "Tesla T4" };
  await writeStandIn(state, { system: { driver: "550.54.15", cuda: 12_040 }, gpus: [gpu] });
  const path = join(folder, "checked.yaml");
  const gpus = { nvidia: { library: await buildStandIn(folder, state) } };
  await writeFile(path, stringify({ gpus, ...(dataPlane ? { dataPlane } : {}), tls: {}, clients: [] }));
  return path;
}

const INVENTORY =
  "PASSED  inventory: GPU-8dee6ce5-8b1e-4d5c-a8c6-1d7ee2e6a6ab Tesla T4 (16106 MB); driver 550.54.15, CUDA 12.4";
const OTHERS = ["memory limit", "two shares", "fork", "end of lease"];

test("gpu-check skips everything on a machine without NVIDIA's driver, and says why", async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), "gpu-check-test-"));
  const path = join(folder.path, "checked.yaml");
  await writeFile(path, stringify({ gpus: { nvidia: { library: "/nowhere/libnvidia-ml.so.1" } } }));
  const { lines, status } = await gpuCheck("--config", path);
  const reason = "Cannot load /nowhere/libnvidia-ml.so.1: expected NVIDIA's driver on this machine";
  expect(status).toBe(0);
  expect(lines.map((line) => line.slice(0, line.indexOf(", and in a container")))).toEqual(
    ["inventory", ...OTHERS].map((name) => `SKIPPED ${name}: ${reason}`),
  );
});

test.skipIf(!HAS_COMPILER)(
  "gpu-check checks the inventory without a data plane, and names what it needs for the rest",
  async () => {
    await using folder = await mkdtempDisposable(join(tmpdir(), "gpu-check-test-"));
    const { lines, status } = await gpuCheck("--config", await writeConfiguration(folder.path));
    expect([status, ...lines]).toEqual([
      0,
      INVENTORY,
      ...OTHERS.map((name) => `SKIPPED ${name}: no data plane: name a configuration with --config`),
    ]);
  },
);

test("gpu-check names a configuration that it cannot use", async () => {
  const { errors, status } = await gpuCheck("--config", "/nowhere/server.yaml");
  expect([status, errors.split(": ENOENT")[0]]).toEqual([2, "gpu-check: Cannot use --config=/nowhere/server.yaml"]);
});

const CAN_RUN = CAN_ISOLATE && HAS_COMPILER;

/** Runs all checks with a stand-in for the data plane and its client. */
async function checkStandIn({ client = "libcuda.so.1" } = {}) {
  await using folder = await mkdtempDisposable(join(tmpdir(), "gpu-check-test-"));
  const library = join(folder.path, "libcuda.so.1");
  const source = join(import.meta.dir, "testing/cuda_stand_in.c");
  await Bun.$`cc -shared -fPIC -o ${library} ${source}`.quiet();
  const command = [process.execPath, join(import.meta.dir, "testing/data_plane.ts")];
  const custom = { name: "stand-in", build: "1", command, environment: { PORT: "{port}", LIMIT_MB: "{memoryMb}" } };
  const path = await writeConfiguration(folder.path, { custom });
  return await gpuCheck("--config", path, "--library", join(folder.path, client)); // the files are removed afterwards
}

test.skipIf(!CAN_RUN)(
  "gpu-check passes with a data plane that shares a GPU properly",
  async () => {
    const { lines, status } = await checkStandIn();
    expect(lines).toEqual([
      INVENTORY,
      "PASSED  memory limit: three connections of a lease of 6442 MB asked for 3221 MB each: not all of them got it",
      expect.stringMatching(/^PASSED {2}two shares: the right results; a call takes \d+ and \d+ µs$/),
      "PASSED  fork: the right results before and after a child process has ended",
      "PASSED  end of lease: no process is left; nvidia-smi had shown 0 on the GPU",
    ]);
    expect(status).toBe(0);
  },
  120_000,
);

test.skipIf(!CAN_RUN)(
  "gpu-check fails, and says why, if programs cannot use the GPU",
  async () => {
    const { lines, status } = await checkStandIn({ client: "missing.so" });
    expect(lines).toHaveLength(5);
    for (const line of lines.slice(1)) expect(line).toMatch(/^FAILED {2}.*missing\.so: cannot open shared object file/);
    expect(status).toBe(1);
  },
  120_000,
);
