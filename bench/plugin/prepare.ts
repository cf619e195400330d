import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createClient } from "@connectrpc/connect";
import { connectUnix } from "../../grpc/client.ts";
import { RESOURCE_SLICES } from "../../kubernetes/objects/resource_slice.ts";
import { kubeconfigOf, startSimulatedApiServer } from "../../kubernetes/simulated/api_server.ts";
import { startSimulatedDraKubelet } from "../../kubernetes/simulated/dra_kubelet.ts";
import { sliceOf } from "../../plugin/driver/testing.ts";
import { deviceName } from "../../pool/device_name.ts";
import { writeTestToken } from "../../pool/token/testing.ts";
import { compile } from "../../program/processes/compile.ts";
import { DRAPlugin } from "../../proto/gen/dra/v1/api_pb.ts";
import { startPoolServer } from "../../server/testing.ts";
import { percentile } from "../common/statistics.ts";

const CLAIMS = 1000;

/** Measures NodePrepareResources of the compiled plugin, and of a service on the same library that does nothing. */
export async function benchPrepare(): Promise<Record<string, string>[]> {
  const folder = await mkdtemp(join(tmpdir(), "bench-"));
  try {
    const baseline = await measureBaseline(folder);
    const driver = await measureDriver(folder);
    return [
      { "one claim per call": "service that does nothing", ...summary(baseline) },
      {
        "one claim per call":
          "driver: reads the claim and its slice from the API server, takes a lease, writes its files",
        ...summary(driver),
      },
    ];
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function measureBaseline(folder: string): Promise<number[]> {
  const baseline = await compile("bench/plugin/baseline_plugin.ts", join(folder, "baseline"));
  const SOCKET = join(folder, "baseline.sock");
  const child = Bun.spawn([baseline], { env: { SOCKET }, stdio: ["pipe", "pipe", "inherit"] });
  for await (const _ of child.stdout) break;
  using channel = connectUnix(SOCKET);
  const client = createClient(DRAPlugin, channel.transport);
  try {
    return await measure((uid) => client.nodePrepareResources({ claims: [{ uid }] }, { timeoutMs: 10_000 }));
  } finally {
    child.kill("SIGKILL");
    await child.exited;
  }
}

async function measureDriver(folder: string): Promise<number[]> {
  await using pool = await startPoolServer({ gpus: 10 });
  const POOL_TOKEN = await writeTestToken(join(folder, "token"));
  await using api = startSimulatedApiServer();
  const { store } = api;
  store.put(`${RESOURCE_SLICES}/bitfusion-0`, sliceOf("bitfusion-0", [pool]));
  let claims = 0; // a GPU has room for a hundred
  store.put("/api/v1/namespaces/team/pods/train", {
    metadata: { uid: "uid-train" },
    spec: { containers: [{ resources: { limits: { "bitfusion.io/gpu": "60" } } }] },
  });
  const kubeconfig = join(folder, "kubeconfig");
  await writeFile(kubeconfig, kubeconfigOf(api.url));
  const plugin = await compile("plugin/main.ts", join(folder, "plugin"));
  const [PLUGINS_REGISTRY_DIR, DRIVER_DIR, CDI_DIR] = ["registry", "driver", "cdi"].map((name) =>
    join(folder, name),
  ) as [string, string, string];
  for (const directory of [DRIVER_DIR, CDI_DIR]) await mkdir(directory);
  await using kubelet = await startSimulatedDraKubelet({ directory: PLUGINS_REGISTRY_DIR });
  const child = Bun.spawn([plugin], {
    env: {
      KUBECONFIG: kubeconfig,
      POOL_SERVERS: pool.address,
      POOL_TOKEN,
      PLUGINS_REGISTRY_DIR,
      DRIVER_DIR,
      CDI_DIR,
    },
    stdio: ["ignore", "ignore", "inherit"],
  });
  try {
    for await (const plugins of kubelet.plugins.changes(AbortSignal.timeout(10_000))) if (plugins.length > 0) break;
    return await measure(
      async (uid) => {
        const name = `claim-${uid}`;
        const results = await kubelet.prepare([{ namespace: "team", name, uid }]);
        if (results[uid]?.error !== "") throw new Error(results[uid]?.error);
      },
      (uid) => {
        const result = {
          request: "gpu",
          driver: "bitfusion.io",
          pool: "bitfusion-0",
          device: deviceName(`server/${claims++ % 10}`),
          consumedCapacity: { units: "1" },
        };
        store.put(`/apis/resource.k8s.io/v1/namespaces/team/resourceclaims/claim-${uid}`, {
          metadata: { uid },
          status: {
            allocation: { devices: { results: [result] } },
            reservedFor: [{ resource: "pods", name: "train", uid: "uid-train" }],
          },
        });
      },
    );
  } finally {
    child.kill("SIGTERM");
    await child.exited;
  }
}

async function measure(
  call: (uid: string) => Promise<unknown>,
  before: (uid: string) => void = () => {},
): Promise<number[]> {
  const times: number[] = [];
  for (let claim = 0; claim < CLAIMS; claim++) {
    const uid = crypto.randomUUID();
    before(uid);
    const start = performance.now();
    await call(uid);
    times.push(performance.now() - start);
  }
  return times;
}

function summary(times: readonly number[]): Record<string, string> {
  const ms = (fraction: number) => `${percentile(times, fraction).toFixed(2)} ms`;
  return { p50: ms(0.5), p99: ms(0.99) };
}
