import { chmod, lstat, mkdir, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { ConfigError } from "../../../program/config_error.ts";
import { type DataPlaneConfiguration, UID_COUNT } from "../configuration.ts";
import { limit } from "../limiter.ts";
import { startSandbox } from "./sandbox.ts";
import { killAll } from "./uids.ts";

/** How long the processes of an earlier run of the server may take to end, in ms. */
const TIMEOUT = 10_000;

/**
 * Prepares the machine for data-plane processes: ends those that an earlier run of the server has left, which would still use GPUs, removes
 * their folders, and tries out a sandbox, with the limiter if there is one. Returns how many it has ended.
 *
 * @throws {ConfigError} says what is missing: processes that are not isolated must not run.
 */
export async function prepareIsolation({ folder, firstUid, limiter }: DataPlaneConfiguration): Promise<number> {
  const isOurs = (uid: number) => uid >= firstUid && uid < firstUid + UID_COUNT;
  const ended = await killAll(isOurs, AbortSignal.timeout(TIMEOUT)).catch(() => {
    throw new ConfigError(`Cannot use dataPlane: processes with uids from ${firstUid} do not end`);
  });
  await createFolder(folder).catch(({ message }) => {
    throw new ConfigError(`Cannot use dataPlane.folder="${folder}": ${message}`);
  });
  for (const name of await readdir(folder)) {
    const path = join(folder, name);
    if (isOurs((await lstat(path)).uid)) await rm(path, { recursive: true });
  }
  const lines: string[] = [];
  const testFolder = join(folder, "test");
  const plain = { command: ["true"], environment: {} };
  const launch = limiter ? limit(plain, limiter, [], testFolder) : plain;
  const test = { launch, uid: firstUid, folder: testFolder, onLine: (line: string) => lines.push(line) };
  const how = await startSandbox(test).then(
    ({ ended }) => ended,
    ({ message }) => message,
  );
  // the dynamic linker goes on without a library that it cannot load
  const ignored = lines.find((line) => limiter && line.startsWith("ERROR: ld.so:") && line.includes(limiter.library));
  if (ignored) throw new ConfigError(`Cannot use the limiter of dataPlane: ${ignored}`);
  if (how === "it exited with status 0") return ended;
  throw new ConfigError(
    `Cannot isolate data-plane processes: ${lines.at(-1) ?? how}: expected root with CAP_SYS_ADMIN, and the programs unshare, setpriv, prlimit, mount (util-linux) and ip (iproute2)`,
  );
}

/** The processes of leases may enter it, but not list it. */
async function createFolder(path: string): Promise<void> {
  await mkdir(path, { recursive: true });
  await chmod(path, 0o711);
}
