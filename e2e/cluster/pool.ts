import { GenericContainer, type StartedTestContainer, Wait } from "testcontainers";
import { exec } from "../steps/exec.ts";
import { SERVER_IMAGE } from "./images.ts";

/** The servers that kind/kustomization.yaml and kind/tokens name. */
export const SERVERS = [
  { name: "bitfusion-pool-a", gpus: 2 },
  { name: "bitfusion-pool-b", gpus: 1 },
] as const;

/** Units of the whole pool. */
export const POOL_UNITS = 300;

/** Starts the pool's servers in containers beside the cluster, on its network, as in life. Disposal removes them, unless they are to be kept. */
export async function startPool({ keep }: { keep: boolean }): Promise<AsyncDisposable> {
  await exec(["docker", "rm", "--force", ...SERVERS.map(({ name }) => name)]); // of a run that was kept
  const started: StartedTestContainer[] = [];
  const stop = async () => {
    if (!keep) await Promise.all(started.map((container) => container.stop()));
  };
  try {
    for (const { name, gpus } of SERVERS) {
      const container = new GenericContainer(SERVER_IMAGE)
        .withName(name)
        .withNetworkMode("kind")
        .withEnvironment({ PORT: "56001", GPUS: String(gpus), SERVER_NAME: name })
        .withWaitStrategy(Wait.forLogMessage("Pool server started"));
      started.push(await container.start());
    }
  } catch (error) {
    await stop();
    throw error;
  }
  return { [Symbol.asyncDispose]: stop };
}
