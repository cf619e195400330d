import { mkdir, open, readdir, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { DRIVER } from "../../pool/driver.ts";
import { formatCdiSpec, type PreparedClaim, parseCdiSpec } from "./cdi.ts";

/** The CDI files of prepared claims. They are the only record of prepared claims, also after a restart of the driver. */
export interface ClaimFiles {
  /** The uids of the claims that have a file. */
  list(): Promise<string[]>;
  /**
   * Undefined if the claim has no file.
   *
   * @throws {Error} names the file and why it is not valid.
   */
  read(uid: string): Promise<PreparedClaim | undefined>;
  /** Writes atomically. Does nothing if the file has the same content, and throws once the signal is aborted. */
  write(claim: PreparedClaim, signal: AbortSignal): Promise<void>;
  /** No error if the claim has no file. */
  remove(uid: string): Promise<void>;
  /** Removes temporary files that instances left behind when they were killed while writing. */
  removeUnfinished(): Promise<void>;
}

/** The container runtime reads the files with this suffix in the CDI directory, and no subdirectories. */
const SUFFIX = ".json";
const PREFIX = `${DRIVER}-claim_`;
const UNFINISHED_SUFFIX = ".tmp";

/** Safe in a path, and in the name of a CDI device. The uids of Kubernetes are UUIDs. */
const UID = /^[0-9A-Za-z]([0-9A-Za-z-]{0,61}[0-9A-Za-z])?$/;

export function createClaimFiles(directory: string): ClaimFiles {
  function pathOf(uid: string): string {
    if (!UID.test(uid)) throw new Error(`Cannot use the uid "${uid}": expected letters, digits and dashes`);
    return join(directory, PREFIX + uid + SUFFIX);
  }

  async function ownNames(suffix: string): Promise<string[]> {
    const names = await ignoreMissing(readdir(directory));
    return (names ?? []).filter((name) => name.startsWith(PREFIX) && name.endsWith(suffix));
  }

  return {
    async list() {
      const names = await ownNames(SUFFIX);
      return names.map((name) => name.slice(PREFIX.length, -SUFFIX.length)).filter((uid) => UID.test(uid));
    },
    async read(uid) {
      const path = pathOf(uid);
      const text = await ignoreMissing(readFile(path, "utf8"));
      if (text === undefined) return undefined;
      try {
        return parseCdiSpec(text);
      } catch (error) {
        throw new Error(`Cannot use ${path}`, { cause: error });
      }
    },
    async write(claim, signal) {
      const path = pathOf(claim.uid);
      const content = formatCdiSpec(claim);
      if ((await ignoreMissing(readFile(path, "utf8"))) === content) return;
      await mkdir(directory, { recursive: true });
      const unfinished = `${path}.${crypto.randomUUID().slice(0, 8)}${UNFINISHED_SUFFIX}`;
      try {
        await writeAndSync(unfinished, content);
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
      // If another instance is writing at the moment, its write fails, and the kubelet tries again.
      for (const name of await ownNames(UNFINISHED_SUFFIX)) await rm(join(directory, name), { force: true });
    },
  };
}

/** Syncs the file to disk: after a power failure, the rename must not lead to an empty file. */
async function writeAndSync(path: string, content: string): Promise<void> {
  await using file = await open(path, "wx", 0o644);
  await file.writeFile(content);
  await file.sync();
}

async function ignoreMissing<T>(reading: Promise<T>): Promise<T | undefined> {
  try {
    return await reading;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}
