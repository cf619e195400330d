import { expect, test } from "bun:test";
import { createBackoff } from "../../program/backoff.ts";
import { createKeyedMutex } from "../../program/keyed_mutex.ts";
import { silentLog } from "../../program/testing.ts";
import type { PreparedClaim } from "./cdi.ts";
import type { ReadClaim } from "./claim.ts";
import type { ClaimFiles } from "./claim_files.ts";
import { keepSwept } from "./sweep.ts";

const CLAIM: PreparedClaim = { namespace: "team", name: "train", uid: "a-1", shares: [] };

/** Files in memory, which tell of removals. */
function claimFiles(...claims: PreparedClaim[]) {
  const held = new Map(claims.map((claim) => [claim.uid, claim]));
  const removed = Promise.withResolvers<string>();
  const files: Partial<ClaimFiles> = {
    list: async () => [...held.keys()],
    read: async (uid) => held.get(uid),
    async remove(uid) {
      held.delete(uid);
      removed.resolve(uid);
    },
  };
  return { held, removed: removed.promise, files: files as ClaimFiles };
}

function start(files: ClaimFiles, readClaim: ReadClaim) {
  const stop = new AbortController();
  const ended = keepSwept({
    files,
    readClaim,
    mutex: createKeyedMutex(),
    log: silentLog,
    signal: stop.signal,
    backoff: createBackoff({ initial: 1, max: 1 }),
    period: 1,
  });
  return {
    async [Symbol.asyncDispose]() {
      stop.abort();
      await ended;
    },
  };
}

const ALLOCATED = { metadata: { name: "c", uid: "a-1" }, spec: {}, status: { allocation: {} } };

test("keepSwept() finds later, too, what the kubelet has forgotten", async () => {
  const { held, removed, files } = claimFiles(CLAIM);
  let turns = 0;
  await using _sweeping = start(files, async () => (++turns < 3 ? ALLOCATED : undefined));
  expect(await removed).toBe("a-1");
  expect(turns).toBe(3);
  expect(held.size).toBe(0);
});

test("keepSwept() removes one claim's file although another's claim cannot be read, and asks for that again", async () => {
  const { held, removed, files } = claimFiles(CLAIM, { ...CLAIM, name: "doubtful", uid: "a-2" });
  const askedAgain = Promise.withResolvers<void>();
  let failures = 0;
  await using _sweeping = start(files, async ({ name }) => {
    if (name === "train") return undefined;
    if (++failures === 3) askedAgain.resolve();
    throw new Error("Away");
  });
  expect(await removed).toBe("a-1");
  await askedAgain.promise;
  expect([...held.keys()]).toEqual(["a-2"]);
});

test("keepSwept() goes on when the files themselves cannot be listed", async () => {
  const { removed, files } = claimFiles(CLAIM);
  let failures = 2;
  const list = async () => {
    if (failures-- > 0) throw new Error("EACCES");
    return files.list();
  };
  await using _sweeping = start({ ...files, list }, async () => undefined);
  expect(await removed).toBe("a-1");
});
