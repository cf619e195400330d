import { chmod, mkdir, readdir, readFile, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { DRIVER } from "../../../pool/driver.ts";
import { formatLeases, LEASE_FILES } from "../../../pool/lease_folder.ts";
import { ignoreMissing } from "../../../program/ignore_missing.ts";
import { replaceFile } from "../../../program/replace_file.ts";
import type { ClaimId } from "../claims/claim.ts";
import { formatCdiSpec, parseCdiSpec } from "./cdi.ts";
import { formatRecord, type PreparedClaim, parseRecord } from "./prepared_claim.ts";

/**
 * The files of prepared claims. Each claim has a record, which the driver reads again after a restart; a folder, which its containers mount;
 * and a CDI file, which tells the container runtime so.
 */
export interface ClaimFiles {
  /** The uids of the claims that have a record. */
  list(): Promise<string[]>;
  /** The uids of the claims that have a CDI file, but no record: the driver's folder was emptied. */
  listUnrecorded(): Promise<string[]>;
  /**
   * The claim that a CDI file names. Undefined if there is no file.
   *
   * @throws {Error} names the file and why it is not valid.
   */
  identify(uid: string): Promise<ClaimId | undefined>;
  /**
   * Undefined if the claim has no record.
   *
   * @throws {Error} names the file and why it is not valid.
   */
  read(uid: string): Promise<PreparedClaim | undefined>;
  /**
   * Writes each file atomically unless it has the same content, and throws once the signal is aborted.
   *
   * @param ca the CAs of the pool servers, in PEM.
   */
  write(claim: PreparedClaim, ca: string, signal: AbortSignal): Promise<void>;
  /** Writes the CDI file, without which no container starts with the claim, unless it is there. Throws once the signal is aborted. */
  expose(claim: Pick<PreparedClaim, "namespace" | "name" | "uid" | "shares">, signal: AbortSignal): Promise<void>;
  /** Removes the CDI file: no container starts with the claim any more. */
  withdraw(uid: string): Promise<void>;
  /** Removes all files. No error if the claim has none. */
  remove(uid: string): Promise<void>;
  /** Removes temporary files that instances left behind when they were killed while writing. */
  removeUnfinished(): Promise<void>;
}

export interface ClaimFilesOptions {
  /** The directory in which the container runtime looks for CDI files. */
  cdiDirectory: string;
  /** The directory of records and folders. Nobody but the driver's user gets into it; containers get their own folder only. */
  recordDirectory: string;
}

const SUFFIX = ".json";
/** The container runtime reads the files with the suffix in the CDI directory, and no subdirectories. */
const CDI_PREFIX = `${DRIVER}-claim_`;
const UNFINISHED_SUFFIX = ".tmp";

/** Safe in a path, and in the name of a CDI device. The uids of Kubernetes are UUIDs. */
const UID = /^[0-9A-Za-z]([0-9A-Za-z-]{0,61}[0-9A-Za-z])?$/;

export function createClaimFiles({ cdiDirectory, recordDirectory }: ClaimFilesOptions): ClaimFiles {
  function pathsOf(uid: string) {
    if (!UID.test(uid)) throw new Error(`Cannot use the uid "${uid}": expected letters, digits and dashes`);
    return {
      cdi: join(cdiDirectory, CDI_PREFIX + uid + SUFFIX),
      record: join(recordDirectory, uid + SUFFIX),
      folder: join(recordDirectory, uid),
    };
  }

  async function list(): Promise<string[]> {
    return uidsIn(recordDirectory, "");
  }

  async function read(uid: string): Promise<PreparedClaim | undefined> {
    const path = pathsOf(uid).record;
    return readWith(path, parseRecord);
  }

  async function expose(
    claim: Pick<PreparedClaim, "namespace" | "name" | "uid" | "shares">,
    signal: AbortSignal,
  ): Promise<void> {
    const { cdi, folder } = pathsOf(claim.uid);
    await mkdir(cdiDirectory, { recursive: true });
    const devices = claim.shares.map(({ device }) => device);
    await writeFile(cdi, formatCdiSpec(claim, devices, folder), 0o644, signal);
  }

  return {
    list,
    async listUnrecorded() {
      const recorded = new Set(await list());
      return (await uidsIn(cdiDirectory, CDI_PREFIX)).filter((uid) => !recorded.has(uid));
    },
    identify: (uid) => readWith(pathsOf(uid).cdi, parseCdiSpec),
    read,
    async write(claim, ca, signal) {
      const { record, folder } = pathsOf(claim.uid);
      await mkdir(recordDirectory, { recursive: true });
      await chmod(recordDirectory, 0o700); // whatever the umask
      await writeFile(record, formatRecord(claim), 0o600, signal);
      await mkdir(folder, { recursive: true });
      await chmod(folder, 0o755); // the containers' users are unknown
      await writeFile(join(folder, LEASE_FILES.ca), ca, 0o444, signal);
      await writeFile(join(folder, LEASE_FILES.leases), formatLeases(claim), 0o444, signal);
      await expose(claim, signal);
    },
    expose,
    async withdraw(uid) {
      await rm(pathsOf(uid).cdi, { force: true });
    },
    async remove(uid) {
      const { cdi, folder, record } = pathsOf(uid);
      await rm(cdi, { force: true });
      await rm(folder, { recursive: true, force: true });
      await rm(record, { force: true });
    },
    async removeUnfinished() {
      // If another instance is writing at the moment, its write fails, and the kubelet tries again.
      const folders = (await list()).map((uid) => pathsOf(uid).folder);
      for (const directory of [cdiDirectory, recordDirectory, ...folders]) {
        const prefix = directory === cdiDirectory ? CDI_PREFIX : "";
        for (const name of await namesIn(directory)) {
          if (name.startsWith(prefix) && name.endsWith(UNFINISHED_SUFFIX))
            await rm(join(directory, name), { force: true });
        }
      }
    },
  };
}

/** The uids in the names of the files with this prefix. */
async function uidsIn(directory: string, prefix: string): Promise<string[]> {
  const names = (await namesIn(directory)).filter((name) => name.startsWith(prefix) && name.endsWith(SUFFIX));
  return names.map((name) => name.slice(prefix.length, -SUFFIX.length)).filter((uid) => UID.test(uid));
}

async function namesIn(directory: string): Promise<string[]> {
  return (await ignoreMissing(readdir(directory))) ?? [];
}

/** Reads and parses a file. Undefined if it does not exist. @throws {Error} names the file and why it is not valid. */
async function readWith<T>(path: string, parse: (text: string) => T): Promise<T | undefined> {
  const text = await ignoreMissing(readFile(path, "utf8"));
  if (text === undefined) return undefined;
  try {
    return parse(text);
  } catch (error) {
    throw new Error(`Cannot use ${path}`, { cause: error });
  }
}

/** Writes a file atomically, unless it has the same content. */
async function writeFile(path: string, content: string, mode: number, signal: AbortSignal): Promise<void> {
  if ((await ignoreMissing(readFile(path, "utf8"))) === content) return;
  const unfinished = join(dirname(path), `${basename(path)}.${crypto.randomUUID().slice(0, 8)}${UNFINISHED_SUFFIX}`);
  await replaceFile(path, content, { mode, unfinished, signal });
}
