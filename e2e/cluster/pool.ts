import { GenericContainer, type StartedTestContainer, Wait } from "testcontainers";
import { exec } from "../steps/exec.ts";
import { SERVER_IMAGE } from "./images.ts";

/** The pool servers that kind/kustomization.yaml and kind/tokens refer to. */
export const SERVERS = [
  { name: "bitfusion-pool-a", gpus: 2 },
  { name: "bitfusion-pool-b", gpus: 1 },
] as const;

/** Units of the entire pool. */
export const POOL_UNITS = 300;

/** Starts the pool servers outside the cluster, on its network, as in production. Disposal removes them unless `keep`. */
export async function startPool({ keep }: { keep: boolean }): Promise<AsyncDisposable> {
  await exec(["docker", "rm", "--force", ...SERVERS.map(({ name }) => name)]); // left by a run with --keep
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
