import { userInfo } from "node:os";
import { resolve } from "node:path";
import { GenericContainer, type StartedTestContainer, Wait } from "testcontainers";
import { exec } from "../steps/exec.ts";
import { CREATE_TOKEN } from "./commands.ts";
import { SERVER_IMAGE } from "./images.ts";

export interface PoolServer {
  /** Name of its container, and its name on the cluster's network. */
  readonly name: string;
  /** Its configuration, a file in kind/. */
  readonly configuration: string;
}

/** The pool servers that kind/kustomization.yaml and the token refer to. */
export const SERVERS: readonly PoolServer[] = [
  { name: "bitfusion-pool-a", configuration: "pool_a.yaml" },
  { name: "bitfusion-pool-b", configuration: "pool_b.yaml" },
];

export const POOL_PORT = 56001;

/** Units of the entire pool. */
export const POOL_UNITS = 300;

export interface PoolOptions {
  servers?: readonly PoolServer[];
  keep?: boolean;
}

/**
 * Creates a token, and starts pool servers outside the cluster, on its network, as in production. Disposal removes them
 * unless `keep`. A new token is as good as the earlier ones.
 */
export async function startPool({ servers = SERVERS, keep = false }: PoolOptions = {}): Promise<AsyncDisposable> {
  await exec(["sh", "-c", CREATE_TOKEN]);
  await exec(["docker", "rm", "--force", ...servers.map(({ name }) => name)]); // left by a run with --keep
  const started: StartedTestContainer[] = [];
  const stop = async () => {
    if (!keep) await Promise.all(started.map((container) => container.stop()));
  };
  try {
    for (const { name, configuration } of servers) {
      const container = new GenericContainer(SERVER_IMAGE)
        .withName(name)
        .withNetworkMode("kind")
        .withUser(`${userInfo().uid}:${userInfo().gid}`)
        .withBindMounts([{ source: resolve("kind"), target: "/etc/bitfusion", mode: "ro" }])
        .withEnvironment({ CONFIG_FILE: `/etc/bitfusion/${configuration}` })
        .withWaitStrategy(Wait.forLogMessage("Pool server started"));
      started.push(await container.start());
    }
  } catch (error) {
    await stop();
    throw error;
  }
  return { [Symbol.asyncDispose]: stop };
}
