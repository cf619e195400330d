import { readFile } from "node:fs/promises";
import * as v from "valibot";
import { ignoreMissing } from "../../program/ignore_missing.ts";
import { type Logger, messageOf } from "../../program/log/log.ts";
import { replaceFile } from "../../program/replace_file.ts";
import { describeSecretIssue } from "../../program/text/describe_issue.ts";
import type { Lease, Ledger } from "./ledger.ts";

/** The leases of a server on disk, so that it knows them after a restart. Who holds none of them can then take nothing of theirs. */
export interface LeaseStore {
  /**
   * The leases that were saved last, with times of the ledger's clock. None if there is no file. A file that cannot be used is logged: drivers take
   * their leases again.
   */
  load(ledger: Pick<Ledger, "now">): Promise<Omit<Lease, "expiresAt">[]>;
  /**
   * Saves the leases of the ledger. Returns once they are on disk as they are now, or later. Calls during a write are merged into one. A
   * failure is logged, and the leases stay: the next save may succeed.
   */
  save(ledger: Pick<Ledger, "leases" | "now">): Promise<void>;
}

export interface LeaseStoreOptions {
  /** Path of the file. */
  path: string;
  log: Logger;
}

const StoredLeases = v.object({
  leases: v.array(
    v.object({
      id: v.string(),
      holder: v.object({ client: v.string(), isPod: v.boolean() }),
      secret: v.string(),
      owner: v.object({ namespace: v.string(), pod: v.string(), container: v.string() }),
      resourceClaim: v.optional(
        v.object({
          namespace: v.string(),
          name: v.string(),
          uid: v.string(),
          node: v.string(),
          shareIds: v.array(v.string()),
        }),
      ),
      gpus: v.array(v.object({ gpuId: v.string(), units: v.number() })),
      /** In ms since the epoch: the ledger's clock starts again with the system. */
      grantedAt: v.number(),
      request: v.optional(v.string()),
    }),
  ),
});

export function createLeaseStore({ path, log }: LeaseStoreOptions): LeaseStore {
  let writing: Promise<void> = Promise.resolve();
  /** The write that has not begun. */
  let next: Promise<void> | undefined;

  async function write({ leases, now }: Pick<Ledger, "leases" | "now">): Promise<void> {
    next = undefined;
    const toEpoch = Date.now() - now();
    const stored = leases().map((lease) => ({ ...lease, grantedAt: Math.round(lease.grantedAt + toEpoch) }));
    const content = `${JSON.stringify(v.parse(StoredLeases, { leases: stored }), undefined, 2)}\n`;
    try {
      await replaceFile(path, content, { mode: 0o600, unfinished: `${path}.tmp` });
    } catch (error) {
      log.error("Cannot save the leases: a restart may lose them", { path, reason: messageOf(error) });
    }
  }

  return {
    async load({ now }) {
      try {
        const text = await ignoreMissing(readFile(path, "utf8"));
        if (text === undefined) return [];
        const toLedger = now() - Date.now();
        return parse(text).map((lease) => ({ ...lease, grantedAt: lease.grantedAt + toLedger }));
      } catch (error) {
        log.error("Cannot read the saved leases: the drivers must take theirs again", {
          path,
          reason: messageOf(error),
        });
        return [];
      }
    },
    save(ledger) {
      if (!next) writing = next = writing.then(() => write(ledger));
      return next;
    },
  };
}

/** @throws {Error} names the field and what is expected, but no secret. */
function parse(text: string): v.InferOutput<typeof StoredLeases>["leases"] {
  const { success, output, issues } = v.safeParse(
    v.pipe(v.string(), v.parseJson(undefined, "expected JSON"), StoredLeases),
    text,
  );
  if (success) return output.leases;
  throw new Error(describeSecretIssue(issues[0]));
}
