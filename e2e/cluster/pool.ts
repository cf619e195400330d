import { mkdir, readFile, rm } from "node:fs/promises";
import { userInfo } from "node:os";
import { resolve } from "node:path";
import { GenericContainer, type StartedTestContainer, Wait } from "testcontainers";
import { exec } from "../steps/exec.ts";
import { CREATE_TOKEN } from "./commands.ts";
import { DATA_PLANE_SERVER_IMAGE, SERVER_IMAGE } from "./images.ts";

export interface PoolServer {
  /** Name of its container, and its name on the cluster's network. */
  readonly name: string;
  /** Its configuration, a file in kind/. */
  readonly configuration: string;
  /** Whether it forwards calls, to a stand-in. It then has e2e/cluster/data_plane.yaml in its configuration. */
  readonly hasDataPlane?: boolean;
}

/** The pool servers that kind/kustomization.yaml and the token refer to. The second one runs as README says. */
export const SERVERS: readonly PoolServer[] = [
  { name: "bitfusion-pool-a", configuration: "pool_a.yaml", hasDataPlane: true },
  { name: "bitfusion-pool-b", configuration: "pool_b.yaml" },
];

export const POOL_PORT = 56001;

/** Units of the entire pool. */
export const POOL_UNITS = 300;

export interface PoolOptions {
  servers?: readonly PoolServer[];
  keep?: boolean;
}

const CONFIGURATION_FOLDER = "/etc/bitfusion";

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
    for (const server of servers) {
      const container = server.hasDataPlane ? await withDataPlane(server) : await withoutDataPlane(server);
      container
        .withName(server.name)
        .withNetworkMode("kind")
        .withEnvironment({ CONFIG_FILE: `${CONFIGURATION_FOLDER}/${server.configuration}` })
        .withWaitStrategy(Wait.forLogMessage("Pool server started"));
      started.push(await container.start());
    }
  } catch (error) {
    await stop();
    throw error;
  }
  return { [Symbol.asyncDispose]: stop };
}

/** The folder of this machine that is `/tmp` of a server without a data plane. */
export function temporaryFolder(server: string): string {
  return resolve("reports", server);
}

/** A server as README starts it. */
async function withoutDataPlane({ name }: PoolServer): Promise<GenericContainer> {
  const folder = temporaryFolder(name);
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  return new GenericContainer(SERVER_IMAGE).withUser(`${userInfo().uid}:${userInfo().gid}`).withBindMounts([
    { source: resolve("kind"), target: CONFIGURATION_FOLDER, mode: "ro" },
    { source: folder, target: "/tmp", mode: "rw" },
  ]);
}

/** A server with the rights that docs/data-plane.md names. */
async function withDataPlane({ configuration }: PoolServer): Promise<GenericContainer> {
  const content = await Promise.all(
    [`kind/${configuration}`, "e2e/cluster/data_plane.yaml"].map((path) => readFile(path, "utf8")),
  );
  return new GenericContainer(DATA_PLANE_SERVER_IMAGE)
    .withDroppedCapabilities("ALL")
    .withAddedCapabilities(...(await dataPlaneCapabilities()))
    .withSecurityOpt("apparmor=unconfined")
    .withBindMounts([{ source: resolve("kind/ca"), target: `${CONFIGURATION_FOLDER}/ca`, mode: "ro" }])
    .withCopyContentToContainer([{ content: content.join(""), target: `${CONFIGURATION_FOLDER}/${configuration}` }]);
}

async function dataPlaneCapabilities(): Promise<string[]> {
  const unit = await readFile("server/deploy/data-plane.conf", "utf8");
  return /^CapabilityBoundingSet=(.+)$/m.exec(unit)?.[1]?.split(" ") ?? [];
}
