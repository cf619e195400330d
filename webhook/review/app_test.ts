import { expect, test } from "bun:test";
import { KubernetesError } from "../../kubernetes/error.ts";
import { silentLog } from "../../program/testing.ts";
import { createHandlers, type HandlerOptions } from "../handlers.ts";
import { Refusal } from "../pod/refusal.ts";
import {
  decodePatch,
  settings as defaultSettings,
  FILTER,
  gpu,
  librarySettings,
  MODE,
  mutated,
  poolOf,
  reviewOf,
  STATUS,
  UNITS,
} from "../testing.ts";
import { type AppOptions, createApp } from "./app.ts";
import { createMetrics } from "./metrics.ts";

const pod = {
  metadata: { generateName: "train-", annotations: { [MODE]: "yes" } },
  spec: { containers: [gpu({ name: "a" })] },
};

type Body = string | Uint8Array<ArrayBuffer>;

interface ReviewResponse {
  apiVersion: string;
  kind: string;
  response: {
    uid: string;
    allowed: boolean;
    patch?: string;
    patchType?: string;
    status?: { code: number; message: string };
    warnings?: string[];
  };
}

type Overrides = Partial<Pick<AppOptions, "notReady"> & Pick<HandlerOptions, "settings" | "ensureToken">>;

/** An app, the namespaces for which it ensured the token, and its metrics. */
function start({ settings, ensureToken, notReady }: Overrides = {}) {
  const namespaces: string[] = [];
  const metrics = createMetrics({ poolUnits: () => undefined });
  const handlers = createHandlers({
    settings: settings ?? (() => defaultSettings),
    ensureToken: async (namespace, signal) => {
      namespaces.push(namespace);
      await ensureToken?.(namespace, signal);
    },
  });
  const app = createApp({
    ...handlers,
    log: silentLog,
    logReview: () => {},
    metrics,
    notReady: notReady ?? (() => undefined),
  });
  async function send(
    body: Body | undefined,
    contentType = "application/json",
    path = "/mutate",
  ): Promise<ReviewResponse["response"]> {
    const headers = contentType ? { "Content-Type": contentType } : {};
    const request = new Request(`http://localhost${path}`, { method: "POST", headers, ...(body ? { body } : {}) });
    const response = await app.handle(request);
    expect(response.status).toBe(200);
    expect(response.headers.get("Content-Type")).toStartWith("application/json");
    const review = (await response.json()) as ReviewResponse;
    expect(review).toMatchObject({ apiVersion: "admission.k8s.io/v1", kind: "AdmissionReview" });
    return review.response;
  }
  const post = (body: unknown, path?: string) => send(JSON.stringify(body), "application/json", path);
  return { app, send, namespaces, metrics, post };
}

test("/mutate responds with patch and patchType, and echoes uid, apiVersion and kind", async () => {
  const { post, namespaces } = start();
  const { uid, allowed, patchType, patch, status } = await post(reviewOf(pod));
  expect({ uid, allowed, patchType, status }).toEqual({
    uid: "uid-1",
    allowed: true,
    patchType: "JSONPatch",
    status: undefined,
  });
  const operations = decodePatch(patch ?? "");
  expect(operations.map(({ path }) => path)).toContain("/spec/initContainers");
  expect(namespaces).toEqual(["team"]);
});

test.each<[description: string, request: Record<string, unknown>]>([
  ["a pod without annotations", { object: { metadata: {}, spec: { containers: [] } } }],
  ["an update", { operation: "UPDATE" }],
  ["a deletion, whose object is null", { operation: "DELETE", object: null }],
  ["a subresource", { subResource: "resize" }],
  ["another resource", { resource: { group: "apps", version: "v1", resource: "deployments" } }],
  ["a pod in kube-system", { namespace: "kube-system" }],
])("/mutate allows %s without a patch, and does not copy the token", async (_, request) => {
  const { post, namespaces } = start();
  expect(await post(reviewOf(pod, request))).toEqual({ uid: "uid-1", allowed: true });
  expect(namespaces).toEqual([]);
});

test("/mutate denies an invalid pod with 403 and what is expected, and does not copy the token", async () => {
  const { post, namespaces } = start();
  const object = { ...pod, spec: { containers: [{ ...pod.spec.containers[0], command: [] }] } };
  const { allowed, patch, status } = await post(reviewOf(object));
  expect({ allowed, patch }).toEqual({ allowed: false, patch: undefined });
  expect(status).toMatchObject({ code: 403, message: expect.stringContaining('Container "a": command is not set') });
  expect(namespaces).toEqual([]);
});

test("/mutate does not copy the token on a dry run, unlike the original", async () => {
  const { post, namespaces } = start();
  expect(await post(reviewOf(pod, { dryRun: true }))).toMatchObject({ allowed: true, patchType: "JSONPatch" });
  expect(namespaces).toEqual([]);
});

test("/mutate responds with 500 if the token cannot be copied, unlike the original", async () => {
  const { post } = start({ ensureToken: () => Promise.reject(new Error("No route", { cause: new Error("down") })) });
  const { uid, allowed, patch, status } = await post(reviewOf(pod));
  expect({ uid, allowed, patch }).toEqual({ uid: "uid-1", allowed: false, patch: undefined });
  expect(status).toMatchObject({ code: 500, message: "The webhook failed: No route: down" });
});

test("/mutate responds before the API server gives up, and names the call that took too long", async () => {
  const hang = (_: string, signal: AbortSignal) =>
    new Promise<never>((_, reject) => {
      signal.addEventListener("abort", () => reject(new Error("GET /api/v1 was not answered in time")), { once: true });
    });
  const { post } = start({ ensureToken: hang });
  const { uid, allowed, status } = await post(reviewOf(pod), "/mutate?timeout=100ms");
  expect({ uid, allowed }).toEqual({ uid: "uid-1", allowed: false });
  expect(status).toMatchObject({ code: 500, message: "The webhook failed: GET /api/v1 was not answered in time" });
});

test("/mutate responds with 400 to a timeout that is not a duration", async () => {
  const { post } = start();
  expect((await post(reviewOf(pod), "/mutate?timeout=soon")).status).toMatchObject({
    code: 400,
    message: 'Cannot use timeout="soon": expected a duration such as 5s',
  });
});

test("/mutate denies a pod if the quota of its namespace is used up", async () => {
  const message = 'secrets "bitfusion-secret" is forbidden: exceeded quota: q, requested: secrets=1';
  const { post, metrics } = start({ ensureToken: () => Promise.reject(new KubernetesError(403, message)) });
  const { allowed, status } = await post(reviewOf(pod));
  expect({ allowed, code: status?.code }).toEqual({ allowed: false, code: 403 });
  expect(status?.message).toContain('in namespace "team": exceeded quota: q, requested: secrets=1');
  expect(await metrics.registry.metrics()).toContain('{webhook="mutate",result="denied",reason="quota"} 1');
});

test("/mutate denies a pod if there is no token, and explains what to do", async () => {
  const { post } = start({ ensureToken: () => Promise.reject(new Refusal("tokens", "Create the Secret")) });
  const { allowed, patch, status } = await post(reviewOf(pod));
  expect({ allowed, patch }).toEqual({ allowed: false, patch: undefined });
  expect(status).toMatchObject({ code: 403, message: "Create the Secret" });
});

test("/mutate reviews two pods concurrently without mixing them up", async () => {
  const { promise: bothWait, resolve } = Promise.withResolvers<void>();
  let waiting = 0;
  const { post } = start({
    ensureToken: async () => {
      if (++waiting === 2) resolve();
      await bothWait;
    },
  });
  const other = { ...pod, metadata: { annotations: { "auto-management/bitfusion": "injection" } } };
  const [full, injection] = await Promise.all([post(reviewOf(pod)), post(reviewOf(other, { uid: "uid-2" }))]);
  const paths = (patch = "") => Buffer.from(patch, "base64").toString();
  expect([full.uid, injection.uid]).toEqual(["uid-1", "uid-2"]);
  expect(paths(full.patch)).toContain("/containers/0/command");
  expect(paths(injection.patch)).not.toContain("/containers/0/command");
});

test.each<[description: string, body: Body | undefined, contentType?: string]>([
  ["truncated JSON", JSON.stringify(reviewOf(pod)).slice(0, -9)],
  ["text", "hello", "text/plain"],
  ["a form", "a=b", "application/x-www-form-urlencoded"],
  ["a multipart form without parts", "x", "multipart/form-data; boundary=y"],
  ["YAML", "apiVersion: admission.k8s.io/v1", "application/yaml"],
  ["protobuf", new Uint8Array([0x6b, 0x38, 0x73, 0x00, 0xff]), "application/vnd.kubernetes.protobuf"],
  ["no content type", "hello", ""],
  ["invalid UTF-8", new Uint8Array([0x7b, 0xff, 0xfe])],
  ["an empty body", ""],
  ["no body", undefined],
  ["no body and no content type", undefined, ""],
  ["a list", "[]"],
  ["null", "null"],
  ["a number", "1"],
  ["text in JSON", '"x"'],
  ["1,000 nested lists", "[".repeat(1000) + "]".repeat(1000)],
  ["100,000 nested lists", "[".repeat(100_000) + "]".repeat(100_000)],
  ["nested lists that are not closed", "[".repeat(1000)],
  ["a review without a request", JSON.stringify({ ...reviewOf(pod), request: undefined })],
])(
  "/mutate responds to %s with an AdmissionReview that denies with 400",
  async (_, body, contentType = "application/json") => {
    const { send } = start();
    expect(await send(body, contentType)).toMatchObject({
      uid: "",
      allowed: false,
      status: { code: 400, message: expect.stringMatching(/^Cannot read the (body|AdmissionReview): /) },
    });
  },
);

test("/mutate refuses v1beta1 with an AdmissionReview, and echoes the uid", async () => {
  const { post } = start();
  expect(await post({ ...reviewOf(pod), apiVersion: "admission.k8s.io/v1beta1" })).toMatchObject({
    uid: "uid-1",
    allowed: false,
    status: { code: 400, message: expect.stringContaining('"admission.k8s.io/v1beta1"') },
  });
});

/** An annotated pod with additional fields, in JSON. */
function podWith(fields: string): string {
  return `{"metadata":{"annotations":{"auto-management/bitfusion":"yes"}},${fields}}`;
}

const container = '{"name":"a","command":["x"],"resources":{"limits":{"bitfusion.io/gpu-num":1}}}';

test.each<[description: string, object: string, code: number]>([
  ["null instead of a pod", "null", 400],
  ["a list instead of a pod", "[]", 400],
  ["null instead of metadata and spec", '{"metadata":null,"spec":null}', 400],
  [
    "null limits (the original panics)",
    podWith('"spec":{"containers":[{"name":"a","resources":{"limits":null}}]}'),
    400,
  ],
])("/mutate responds to %s with an AdmissionReview, and keeps serving", async (_, object, code) => {
  const { post, send } = start();
  const { uid, allowed, status } = await send(JSON.stringify(reviewOf("?")).replace('"?"', object));
  expect({ uid, allowed, code: status?.code }).toEqual({ uid: "uid-1", allowed: false, code });
  expect((await post(reviewOf(pod))).allowed).toBe(true);
});

test("/mutate injects a pod with 50,000 nested lists in an unknown field", async () => {
  const object = podWith(`"spec":{"containers":[${container}]},"x":${"[".repeat(50_000)}${"]".repeat(50_000)}`);
  const { allowed, patch } = await start().send(JSON.stringify(reviewOf("?")).replace('"?"', object));
  expect([allowed, typeof patch]).toEqual([true, "string"]);
});

const annotated = (annotations: Record<string, string>, containers: unknown[] = pod.spec.containers) => ({
  metadata: { annotations: { [MODE]: "yes", ...annotations } },
  spec: { containers },
});

test.each<[description: string, object: unknown, using: typeof defaultSettings, warning: string]>([
  [
    "without a share",
    annotated({}, [{ name: "a" }]),
    defaultSettings,
    "Annotation auto-management/bitfusion has no effect: no container has a limit bitfusion.io/gpu-num or bitfusion.io/gpu",
  ],
  [
    "with a forged status",
    annotated({ [STATUS]: "injected" }),
    defaultSettings,
    "Annotation auto-management/status is set by the webhook: its value was ignored",
  ],
  [
    "with a filter for a client that leaves commands alone",
    annotated({ [FILTER]: "device.id=1" }),
    librarySettings,
    "Annotation bitfusion-client/filter has no effect: the client library does not wrap commands",
  ],
])("/mutate allows an annotated pod %s, and warns the user", async (_, object, using, warning) => {
  const { post } = start({ settings: () => using });
  const { allowed, warnings } = await post(reviewOf(object));
  expect({ allowed, warnings }).toEqual({ allowed: true, warnings: expect.arrayContaining([warning]) });
  expect(warning.length).toBeLessThanOrEqual(120);
});

test("/mutate does not warn about a normal pod", async () => {
  const { post } = start();
  expect(await post(reviewOf(pod))).not.toHaveProperty("warnings");
});

test("/mutate creates what an injected pod needs in another namespace, but not on a dry run", async () => {
  const { post, namespaces } = start();
  const restored = mutated(pod);
  expect((await post(reviewOf(restored, { namespace: "other", dryRun: true }))).allowed).toBe(true);
  expect(namespaces).toEqual([]);
  const response = await post(reviewOf(restored, { namespace: "other" }));
  expect(response).toEqual({ uid: "uid-1", allowed: true });
  expect(namespaces).toEqual(["other"]);
});

test("/mutate does not copy the token for a client that needs none", async () => {
  const { post, namespaces } = start({ settings: () => librarySettings });
  expect(await post(reviewOf(pod))).toMatchObject({ allowed: true, patchType: "JSONPatch" });
  expect(namespaces).toEqual([]);
});

test("/mutate and /validate use the current settings", async () => {
  let current: ReturnType<HandlerOptions["settings"]> = defaultSettings;
  const { post, namespaces } = start({ settings: () => current });
  const injected = mutated(pod);
  expect((await post(reviewOf(injected), "/validate")).allowed).toBe(true);
  current = { ...librarySettings, pool: poolOf(1) };
  await post(reviewOf(pod));
  expect(namespaces).toEqual([]);
  expect((await post(reviewOf(injected), "/validate")).allowed).toBe(false);
  const large = { ...pod, spec: { containers: ["a", "b", "c"].map((name) => gpu({ name })) } };
  const { status } = await post(reviewOf(mutated(large, librarySettings)), "/validate");
  expect(status?.message).toContain("the whole pool has 100");
});

test.each<[description: string, object: unknown, allowed: boolean]>([
  ["an injected pod", mutated(pod), true],
  ["a pod without a share", { metadata: {}, spec: { containers: [{ name: "a" }] } }, true],
  ["a pod that was never injected", pod, false],
  ["units without a client", { metadata: {}, spec: { containers: [gpu({}, { [UNITS]: 50 })] } }, false],
])("/validate responds to %s with the uid and without a patch", async (_, object, allowed) => {
  const { post, namespaces } = start();
  const response = await post(reviewOf(object), "/validate");
  expect(response).toMatchObject({ uid: "uid-1", allowed, ...(allowed ? {} : { status: { code: 403 } }) });
  expect(response).not.toHaveProperty("patch");
  expect(response).not.toHaveProperty("patchType");
  expect(namespaces).toEqual([]);
});

test.each<[description: string, body: string]>([
  ["truncated JSON", JSON.stringify(reviewOf(pod)).slice(0, -9)],
  ["a list", "[]"],
  ["null instead of a pod", JSON.stringify(reviewOf(null))],
])("/validate responds to %s with an AdmissionReview that denies with 400", async (_, body) => {
  const { send } = start();
  const { allowed, status } = await send(body, "application/json", "/validate");
  expect({ allowed, code: status?.code }).toEqual({ allowed: false, code: 400 });
});

test("/mutate and /validate count reviews by webhook, result and reason", async () => {
  const { post, metrics } = start();
  for (const request of [{}, {}, { operation: "UPDATE" }, { object: null }]) await post(reviewOf(pod, request));
  for (const object of [mutated(pod), pod, annotated({ [MODE]: "maybe" })]) await post(reviewOf(object), "/validate");
  const { values } = await metrics.reviews.get();
  const counts = values.filter(({ metricName }) => metricName?.endsWith("_count"));
  expect(counts.map(({ labels: { webhook, result, reason }, value }) => [webhook, result, reason, value])).toEqual([
    ["mutate", "patched", "injected", 2],
    ["mutate", "allowed", "other", 1],
    ["mutate", "errored", "unreadable", 1],
    ["validate", "allowed", "valid", 1],
    ["validate", "denied", "injection", 1],
    ["validate", "denied", "mode", 1],
  ]);
});

test("/mutate counts a refusal because of the token with the reason tokens", async () => {
  const { post, metrics } = start({ ensureToken: () => Promise.reject(new Refusal("tokens", "Create the Secret")) });
  await post(reviewOf(pod));
  expect(await metrics.registry.metrics()).toContain(
    'bitfusion_webhook_review_duration_seconds_count{webhook="mutate",result="denied",reason="tokens"} 1',
  );
});

async function get(app: ReturnType<typeof createApp>, path: string): Promise<[status: number, text: string]> {
  const response = await app.handle(new Request(`http://localhost${path}`));
  return [response.status, await response.text()];
}

test("/livez responds while the program runs, and /readyz once it is ready", async () => {
  let missing: string | undefined = "No certificate yet";
  const { app } = start({ notReady: () => missing });
  expect(await get(app, "/livez")).toEqual([200, "ok\n"]);
  expect(await get(app, "/readyz")).toEqual([503, "No certificate yet\n"]);
  missing = undefined;
  expect(await get(app, "/readyz")).toEqual([200, "ok\n"]);
});

test("an unknown path and an unsupported method respond with 404", async () => {
  const { app } = start();
  expect(await get(app, "/nowhere")).toEqual([404, "Not found\n"]);
  expect(await get(app, "/validate")).toEqual([404, "Not found\n"]);
  expect(await get(app, "/mutate")).toEqual([404, "Not found\n"]);
});
