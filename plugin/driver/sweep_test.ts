import { expect, test } from "bun:test";
import { createBackoff } from "../../program/backoff.ts";
import { createKeyedMutex } from "../../program/keyed_mutex.ts";
import { silentLog } from "../../program/testing.ts";
import type { ReadClaim } from "./claims/claim.ts";
import type { PreparedClaim } from "./files/prepared_claim.ts";
import { runSweeper, type SweepOptions } from "./sweep.ts";

const CLAIM: PreparedClaim = {
  namespace: "team",
  name: "train",
  uid: "a-1",
  owner: { namespace: "team", pod: "train", container: "main" },
  node: "node-1",
  containers: [],
  shares: [],
  leases: [],
};

type Node = Pick<SweepOptions, "files" | "preparer">;

/** Claims in memory. `removed` resolves with the uid of the first that is unprepared. */
function claimFiles(...claims: PreparedClaim[]) {
  const held = new Map(claims.map((claim) => [claim.uid, claim]));
  const removed = Promise.withResolvers<string>();
  const node: Node = {
    files: { list: async () => [...held.keys()], read: async (uid) => held.get(uid) },
    preparer: {
      async unprepare(uid) {
        held.delete(uid);
        removed.resolve(uid);
      },
    },
  };
  return { held, removed: removed.promise, node };
}

function start(node: Node, readClaim: ReadClaim, mutex = createKeyedMutex()) {
  const stop = new AbortController();
  const ended = runSweeper({
    ...node,
    readClaim,
    mutex,
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

test("runSweeper() also unprepares a claim that is deleted later", async () => {
  const { held, removed, node } = claimFiles(CLAIM);
  let reads = 0;
  await using _sweeping = start(node, async () => (++reads < 3 ? ALLOCATED : undefined));
  expect(await removed).toBe("a-1");
  expect(reads).toBe(3);
  expect(held.size).toBe(0);
});

test("runSweeper() unprepares one claim although another claim cannot be read, and retries that one", async () => {
  const { held, removed, node } = claimFiles(CLAIM, { ...CLAIM, name: "unreadable", uid: "a-2" });
  const retried = Promise.withResolvers<void>();
  let failures = 0;
  await using _sweeping = start(node, async ({ name }) => {
    if (name === "train") return undefined;
    if (++failures === 3) retried.resolve();
    throw new Error("Unreachable");
  });
  expect(await removed).toBe("a-1");
  await retried.promise;
  expect([...held.keys()]).toEqual(["a-2"]);
});

test("runSweeper() judges a claim that is being prepared only afterwards", async () => {
  const { held, removed, node } = claimFiles(CLAIM, { ...CLAIM, name: "deleted", uid: "a-2" });
  const mutex = createKeyedMutex();
  const [prepared, judged] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  void mutex("a-1", () => prepared.promise);
  let isAllocated = false;
  const readClaim: ReadClaim = async ({ name }) => {
    if (name === "train") judged.resolve();
    return name === "train" && isAllocated ? ALLOCATED : undefined;
  };
  await using _sweeping = start(node, readClaim, mutex);
  expect(await removed).toBe("a-2");
  expect([...held.keys()]).toEqual(["a-1"]);
  isAllocated = true;
  prepared.resolve();
  await judged.promise;
  expect([...held.keys()]).toEqual(["a-1"]);
});

test("runSweeper() continues when the files cannot be listed", async () => {
  const { removed, node } = claimFiles(CLAIM);
  let failures = 2;
  const list = async () => {
    if (failures-- > 0) throw new Error("EACCES");
    return node.files.list();
  };
  await using _sweeping = start({ ...node, files: { ...node.files, list } }, async () => undefined);
  expect(await removed).toBe("a-1");
});
