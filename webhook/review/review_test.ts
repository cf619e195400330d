import { expect, test } from "bun:test";
import { applyPatch } from "rfc6902";
import { decodePatch } from "../testing.ts";
import { type AdmissionRequest, parseReview, toReview as reviewOf } from "./review.ts";

/** The review as the API server receives it. */
const toReview = (...given: Parameters<typeof reviewOf>) => JSON.parse(JSON.stringify(reviewOf(...given)));

const request = {
  uid: "705ab4f5-6393-11e8-b7cc-42010a800002",
  resource: { group: "", version: "v1", resource: "pods" },
  operation: "CREATE",
};
const review = { apiVersion: "admission.k8s.io/v1", kind: "AdmissionReview", request };

test("parseReview() reads a request, with defaults for fields that the API server omits", () => {
  expect(parseReview(review)).toEqual({ request: { ...request, name: "", namespace: "", dryRun: false } });
});

test("parseReview() keeps the object and unknown fields unchanged", () => {
  const object = { spec: { new: [1] } };
  const parsed = parseReview({ ...review, request: { ...request, object, userInfo: { username: "me" } } });
  const read = (parsed as { request: AdmissionRequest }).request;
  expect(read.object).toBe(object);
  expect(read.userInfo).toEqual({ username: "me" });
});

test.each<[description: string, body: unknown, uid: string, field: string]>([
  ["nothing", undefined, "", "the document"],
  ["null", null, "", "the document is null"],
  ["text", "review", "", 'the document is "review"'],
  ["a list", [], "", "apiVersion is not set"],
  ["v1beta1", { ...review, apiVersion: "admission.k8s.io/v1beta1" }, request.uid, "apiVersion is "],
  ["another kind", { ...review, kind: "ConversionReview" }, request.uid, 'kind is "ConversionReview"'],
  ["no request", { ...review, request: undefined }, "", "request is not set"],
  ["a request that is null", { ...review, request: null }, "", "request is null"],
  ["a uid that is not text", { ...review, request: { ...request, uid: 1 } }, "", "request.uid is 1"],
  ["an empty uid", { ...review, request: { ...request, uid: "" } }, "", 'request.uid is ""'],
  [
    "no resource",
    { ...review, request: { ...request, resource: undefined } },
    request.uid,
    "request: expected resource or kind",
  ],
  ["dryRun that is text", { ...review, request: { ...request, dryRun: "no" } }, request.uid, "request.dryRun is "],
])("parseReview() reports what is wrong with %s, and keeps the uid if it has one", (_, body, uid, field) => {
  expect(parseReview(body)).toEqual({
    uid,
    decision: {
      result: "errored",
      reason: "unreadable",
      code: 400,
      message: expect.stringContaining(`Cannot read the AdmissionReview: ${field}`),
    },
  });
});

const pods = { group: "", version: "v1", resource: "pods", kind: "Pod" };
const without = (key: keyof typeof pods) => ({ ...pods, [key]: undefined });
const hasText = (value: unknown, ...keys: string[]) =>
  keys.every((key) => typeof (value as Record<string, unknown> | null)?.[key] === "string");
const isText = (value: unknown) => typeof value === "string";

test.each<[field: string, isValid: (value: unknown) => boolean]>([
  ["uid", (value) => isText(value) && value !== ""],
  ["resource", (value) => hasText(value, "group", "version", "resource")],
  ["kind", (value) => hasText(value, "group", "version", "kind")],
  ["subResource", isText],
  ["name", isText],
  ["namespace", isText],
  ["operation", isText],
  ["dryRun", (value) => typeof value === "boolean"],
])("parseReview() accepts only valid values of a request's %s", (field, isValid) => {
  const parts = (["group", "version", "resource", "kind"] as const).map(without);
  for (const value of [null, 1, true, "", "x", [], {}, pods, ...parts]) {
    const parsed = parseReview({ ...review, request: { ...request, [field]: value } });
    expect([value, "request" in parsed]).toEqual([value, isValid(value)]);
  }
});

test("toReview() sets apiVersion and kind, unlike the original", () => {
  expect(toReview("u", { result: "allowed", reason: "other", message: "" })).toMatchObject({
    apiVersion: "admission.k8s.io/v1",
    kind: "AdmissionReview",
    response: { uid: "u" },
  });
});

test("toReview() omits patch and patchType if the pod is allowed unchanged", () => {
  const { response } = toReview("u", { result: "allowed", reason: "other", message: "No pod is created" });
  expect(response).toEqual({ uid: "u", allowed: true });
});

test("toReview() sends patch and patchType together, the patch as base64 of UTF-8", () => {
  const { response } = toReview("u", {
    result: "patched",
    reason: "injected",
    needs: { tokens: true },
    message: "",
    patch: [{ op: "add", path: "/name", value: "Größe €" }],
  });
  expect(response).toMatchObject({ uid: "u", allowed: true, patchType: "JSONPatch" });
  const document = {};
  applyPatch(document, decodePatch(response.patch));
  expect(document).toEqual({ name: "Größe €" });
});

test("toReview() denies with 403 and the message", () => {
  expect(toReview("u", { result: "denied", reason: "command", message: "Set command" }).response).toEqual({
    uid: "u",
    allowed: false,
    status: { code: 403, reason: "Forbidden", message: "Set command" },
  });
});

test.each<[400 | 500, string]>([
  [400, "BadRequest"],
  [500, "InternalError"],
])("toReview() converts an error %d to a status with the reason %s", (code, reason) => {
  expect(toReview("u", { result: "errored", reason: "internal", code, message: "Broken" }).response).toEqual({
    uid: "u",
    allowed: false,
    status: { code, reason, message: "Broken" },
  });
});

test("toReview() passes on warnings for any result, and omits an empty list", () => {
  const decision = { reason: "t", message: "" };
  const warnings = ["Odd"];
  expect(toReview("u", { ...decision, result: "allowed", warnings }).response).toEqual({
    uid: "u",
    allowed: true,
    warnings,
  });
  expect(toReview("u", { ...decision, result: "denied", warnings }).response).toMatchObject({ warnings });
  expect(toReview("u", { ...decision, result: "allowed", warnings: [] }).response).not.toHaveProperty("warnings");
});
