import { expect } from "bun:test";
import { apply, get, kubectl, rejectionMessage, WORKERS, waitFor, waitForSuccess } from "../steps/kubectl.ts";
import { pod, share, sharePod } from "../steps/pods.ts";
import { scenario } from "../steps/scenario.ts";

/** A filter for the pool server with two GPUs. */
const SERVER_A = "server.hostname=bitfusion-pool-a";

scenario.concurrent("shares that the pool could never hold are rejected at admission", async (namespace) => {
  expect(await rejectionMessage(sharePod({ namespace, name: "many", num: 33, percent: 1 }))).toContain(
    'Container "main" requests 1 % of each of 33 different GPUs: expected at most 32 GPUs, the limit of a ResourceClaim',
  );
  const containers = ["a", "b", "c"].map((name) => ({ name, command: ["true"], resources: share(1, 60) }));
  expect(
    await rejectionMessage(pod({ namespace, name: "three", mode: "yes", filter: SERVER_A, containers })),
  ).toContain('can hold only "a" and "b": the pod would wait forever');
});

scenario.concurrent("a pod with nodeName gets its GPU on that node", async (namespace) => {
  const manifest = sharePod({ namespace, name: "bound", num: 1, percent: 5 });
  const [, node] = WORKERS;
  await apply({ ...manifest, spec: { ...manifest.spec, nodeName: node } });
  await waitForSuccess(namespace, "bound");
  const { spec } = await get<{ spec: { nodeName: string } }>("pod", "bound", "-n", namespace);
  expect(spec.nodeName).toBe(node);
});

scenario("a pod whose containers together find no room waits, and one event says what they lack", async (namespace) => {
  const keepRunning = ["sleep", "600"];
  await apply(sharePod({ namespace, name: "holder", num: 1, percent: 60, filter: SERVER_A, command: keepRunning }));
  await kubectl("wait", "-n", namespace, "pod/holder", "--for=condition=Ready", "--timeout=120s");
  const containers = ["a", "b"].map((name) => ({ name, command: ["true"], resources: share(1, 60) }));
  await apply(pod({ namespace, name: "waits", mode: "yes", filter: SERVER_A, containers }));
  const request = `60 % of one GPU that matches ${SERVER_A}`;
  await waitFor("the event", async () => {
    const events = await kubectl("describe", "pod", "waits", "-n", namespace);
    return events.includes(
      `Waiting for the pool: needs 2 × ${request} at the same time; the freest GPUs have 100 % and 40 %`,
    );
  });
  await kubectl("delete", "pod", "holder", "-n", namespace);
  await waitForSuccess(namespace, "waits");
});
