import { expect, test } from "bun:test";
import { createRecordingLog } from "../../program/testing.ts";
import { waitForClaimSupport } from "./claim_support.ts";

test("waitForClaimSupport() says what is missing and what to do, and returns when its signal is aborted", async () => {
  const lines: string[] = [];
  const stop = new AbortController();
  const reasons: string[] = [];
  await waitForClaimSupport({
    findMissing: async () => "claims (Kubernetes 2)",
    log: createRecordingLog(lines),
    onMissing(reason) {
      reasons.push(reason);
      stop.abort();
    },
    signal: stop.signal,
  });
  const reason =
    "The API server does not support claims (Kubernetes 2): upgrade it, or install the kustomize component components/units";
  expect(reasons).toEqual([reason]);
  expect(lines).toEqual([`Cannot share the pool by claims: ${reason}`]);
});

test("waitForClaimSupport() retries a call that fails, and names the failure", async () => {
  const lines: string[] = [];
  const answers = [() => Promise.reject(new Error("etcd is down")), async () => undefined];
  await waitForClaimSupport({
    findMissing: () => answers.shift()?.() ?? Promise.reject(new Error("One answer too many")),
    log: createRecordingLog(lines),
    onMissing: (reason) => lines.push(reason),
    signal: AbortSignal.timeout(4000),
  });
  expect(lines).toEqual(["Cannot find out whether the API server supports sharing by claims: etcd is down"]);
});
