import { mkdir, open, readdir, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { DRIVER } from "../../pool/driver.ts";
import { cdiSpecOf, type PreparedClaim, preparedClaimOf } from "./cdi.ts";

/** The files that tell the container runtime of prepared claims. They are all that is known of these, also after a restart. */
export interface ClaimFiles {
  /** The uids of the claims that have one. */
  list(): Promise<string[]>;
  /**
   * Undefined if there is none.
   *
   * @throws {Error} names the file when it is none of ours, and says why.
   */
  read(uid: string): Promise<PreparedClaim | undefined>;
  /** Whole or not at all. Nothing once the signal is aborted, nor where the same is there already. */
  write(claim: PreparedClaim, signal: AbortSignal): Promise<void>;
  /** Fine where there is none. */
  remove(uid: string): Promise<void>;
  /** Removes what instances left behind that were killed in mid write. */
  removeUnfinished(): Promise<void>;
}

/** The container runtime reads names that end so, in this directory and no deeper. */
const ENDING = ".json";
const PREFIX = `${DRIVER}-claim_`;
const UNFINISHED = ".tmp";

/** Safe in a path, and in the name of a CDI device. Kubernetes' are UUIDs. */
const UID = /^[0-9A-Za-z]([0-9A-Za-z-]{0,61}[0-9A-Za-z])?$/;

export function createClaimFiles(directory: string): ClaimFiles {
  function pathOf(uid: string): string {
    if (!UID.test(uid)) throw new Error(`Cannot use the uid "${uid}": expected letters, digits and dashes`);
    return join(directory, PREFIX + uid + ENDING);
  }

  async function ownNames(ending: string): Promise<string[]> {
    const names = await unlessMissing(readdir(directory));
    return (names ?? []).filter((name) => name.startsWith(PREFIX) && name.endsWith(ending));
  }

  return {
    async list() {
      const names = await ownNames(ENDING);
      return names.map((name) => name.slice(PREFIX.length, -ENDING.length)).filter((uid) => UID.test(uid));
    },
    async read(uid) {
      const path = pathOf(uid);
      const text = await unlessMissing(readFile(path, "utf8"));
      if (text === undefined) return undefined;
      try {
        return preparedClaimOf(text);
      } catch (error) {
        throw new Error(`Cannot use ${path}`, { cause: error });
      }
    },
    async write(claim, signal) {
      const path = pathOf(claim.uid);
      const content = cdiSpecOf(claim);
      if ((await unlessMissing(readFile(path, "utf8"))) === content) return;
      await mkdir(directory, { recursive: true });
      const unfinished = `${path}.${crypto.randomUUID().slice(0, 8)}${UNFINISHED}`;
      try {
        await writeThrough(unfinished, content);
        signal.throwIfAborted();
        await rename(unfinished, path);
      } catch (error) {
        await rm(unfinished, { force: true });
        throw error;
      }
    },
    async remove(uid) {
      await rm(pathOf(uid), { force: true });
    },
    async removeUnfinished() {
      // An overlapping instance that is writing just now fails, and the kubelet asks it again.
      for (const name of await ownNames(UNFINISHED)) await rm(join(directory, name), { force: true });
    },
  };
}

/** To the disk: a rename that outlives a power cut must not name an empty file. */
async function writeThrough(path: string, content: string): Promise<void> {
  await using file = await open(path, "wx", 0o644);
  await file.writeFile(content);
  await file.sync();
}

async function unlessMissing<T>(reading: Promise<T>): Promise<T | undefined> {
  try {
    return await reading;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}
