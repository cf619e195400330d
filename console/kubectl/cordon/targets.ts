import type { GpuView, PoolView, ServerView } from "../../view/types.ts";
import { UserError } from "../user_error.ts";

/** The expected form of a target, for messages. */
const EXPECTED =
  "expected the address, host or name of a server, or the id of a GPU, its first characters or the name of its device; kubectl bitfusion pool lists them";

/** The most candidates that a message lists. */
const MAX_LISTED = 5;

/**
 * The GPUs that targets name, each once, in the order of the pool. A target is a server or a GPU; `server/` or `gpu/` in front of it says which.
 *
 * @throws {UserError} if a target names nothing, or several servers or GPUs.
 */
export function findTargets(pool: PoolView, targets: readonly string[]): readonly GpuView[] {
  const found = new Set(targets.flatMap((target) => findTarget(pool, target)));
  return pool.servers.flatMap(({ gpus }) => gpus.filter((gpu) => found.has(gpu)));
}

function findTarget({ servers }: PoolView, target: string): readonly GpuView[] {
  const [, kind, name = target] = /^(server|gpu)\/(.+)$/.exec(target) ?? [];
  const gpus = kind === "server" ? [] : servers.flatMap((server) => server.gpus);
  const matchingServers = kind === "gpu" ? [] : findServers(servers, name);
  const exactGpus = gpus.filter(({ id, device }) => id === name || device === name);
  const isExact = matchingServers.length + exactGpus.length > 0;
  const matchingGpus = isExact ? exactGpus : gpus.filter(({ id }) => id.startsWith(name));
  const candidates = [
    ...matchingServers.map(({ address }) => `server/${address}`),
    ...matchingGpus.map(({ id, server }) => `gpu/${id} on ${server}`),
  ];
  if (candidates.length === 0) throw new UserError(`Cannot find "${target}" in the pool: ${EXPECTED}`);
  if (candidates.length > 1) {
    const more = candidates.length - MAX_LISTED;
    const listed = [...candidates.slice(0, MAX_LISTED), ...(more > 0 ? [`${more} others`] : [])];
    throw new UserError(
      `"${target}" may be ${new Intl.ListFormat("en-GB", { type: "disjunction" }).format(listed)}: name one of them`,
    );
  }
  return matchingServers[0]?.gpus ?? matchingGpus;
}

/** The server with this address; else those with this host or name. */
function findServers(servers: readonly ServerView[], name: string): readonly ServerView[] {
  const known = servers.filter(({ address }) => address !== "");
  const exact = known.filter(({ address }) => address === name);
  if (exact.length > 0) return exact;
  return known.filter((server) => server.name === name || server.attributes.host === name);
}
