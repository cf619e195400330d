import { afterEach, expect, jest, test } from "bun:test";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { V1Secret } from "@kubernetes/client-node";
import {
  connectWith,
  kubeconfigOf,
  type SimulatedApiServer,
  startSimulatedApiServer,
} from "../../kubernetes/simulated/api_server.ts";
import type { Logger } from "../../program/log/log.ts";
import { recordingLog, silentLog } from "../../program/testing.ts";
import { type Certificate, createCertificate, isFresh } from "../../tls/certificate.ts";
import { type CertificateSource, createFileSource, createSecretSource } from "./certificate_source.ts";

const NAMES = ["localhost"] as const;
const KEY = "bitfusion-system/bitfusion-webhook-tls";
const DAY = 24 * 3600_000;

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** What a source gives, and the end of it. */
function open(source: CertificateSource) {
  const over = new AbortController();
  cleanups.push(() => over.abort());
  return { iterator: source(over.signal)[Symbol.asyncIterator](), over };
}

async function first(source: CertificateSource): Promise<Certificate> {
  const { value } = await open(source).iterator.next();
  return value;
}

/** The next certificate, with the waits in between cut short: the source's own read is still the real one. */
async function afterWaiting(iterator: AsyncIterator<Certificate>): Promise<IteratorResult<Certificate>> {
  jest.useFakeTimers();
  try {
    const next = iterator.next();
    jest.advanceTimersByTime(30_000);
    return await next;
  } finally {
    jest.useRealTimers();
  }
}

async function files(cert: string, key: string): Promise<{ cert: string; key: string }> {
  const directory = await mkdtemp(join(tmpdir(), "certificate-"));
  cleanups.push(() => rm(directory, { recursive: true, force: true }));
  const paths = { cert: join(directory, "tls.crt"), key: join(directory, "tls.key") };
  await Promise.all([writeFile(paths.cert, cert), writeFile(paths.key, key)]);
  return paths;
}

test("createFileSource() reads the files, and again when they have changed", async () => {
  const [before, after] = await Promise.all([
    createCertificate(NAMES, Date.now()),
    createCertificate(NAMES, Date.now()),
  ]);
  const paths = await files(before.cert, before.key);
  const { iterator, over } = open(createFileSource(paths, silentLog));
  expect((await iterator.next()).value).toEqual({ ...before, ca: "" });
  await Promise.all([writeFile(paths.cert, after.cert), writeFile(paths.key, after.key)]);
  expect((await afterWaiting(iterator)).value).toEqual({ ...after, ca: "" });
  const end = iterator.next();
  over.abort();
  expect(await end).toEqual({ done: true, value: undefined });
});

test.each<[description: string, missing: "cert" | "key", text: string | undefined, message: RegExp]>([
  ["a certificate that isn't there", "cert", undefined, /^ConfigError: Cannot read TLS_CERT_FILE=".*tls.crt": ENOENT/],
  ["a key that isn't there", "key", undefined, /^ConfigError: Cannot read TLS_KEY_FILE=".*tls.key": ENOENT/],
  ["a certificate that is no PEM", "cert", "x", /^ConfigError: Cannot use TLS_CERT_FILE=".*": expected a PEM file$/],
  ["an empty key", "key", "", /^ConfigError: Cannot use TLS_KEY_FILE=".*": expected a PEM file$/],
])("createFileSource() refuses %s and names variable and file", async (_, which, text, message) => {
  const { cert, key } = await createCertificate(NAMES, Date.now());
  const paths = await files(cert, key);
  if (text === undefined) await rm(paths[which]);
  else await writeFile(paths[which], text);
  expect(await first(createFileSource(paths, silentLog)).then(String, String)).toMatch(message);
});

interface Setup {
  now?: number;
  log?: Logger;
  secret?: V1Secret;
  onRequest?: (request: Request) => Response | undefined | Promise<Response | undefined>;
}

/** An API server, and a maker of sources on it. */
async function start({ now = Date.now(), secret, onRequest, log = silentLog }: Setup = {}) {
  const api = startSimulatedApiServer({ onRequest: (request) => onRequest?.(request) });
  cleanups.push(() => api[Symbol.asyncDispose]());
  if (secret) api.secrets.set(KEY, { ...secret, metadata: { name: "bitfusion-webhook-tls", resourceVersion: "7" } });
  const { core } = await connectWith(kubeconfigOf(api.url));
  const clock = { now };
  const [namespace = "", name = ""] = KEY.split("/");
  const published: Certificate[] = [];
  const publish = async (certificate: Certificate) => void published.push(certificate);
  const source = () =>
    createSecretSource({ core, namespace, name, dnsNames: NAMES, publish, log, now: () => clock.now });
  return { api, clock, source, published };
}

function secretOf({ cert, key, ca }: Certificate) {
  const encode = (text: string) => Buffer.from(text).toString("base64");
  return {
    type: "kubernetes.io/tls",
    data: { "tls.crt": encode(cert), "tls.key": encode(key), "ca.crt": encode(ca) },
  };
}

function stored({ secrets }: SimulatedApiServer): unknown {
  const { type, data } = secrets.get(KEY) ?? {};
  return { type, data };
}

test("createSecretSource() makes a certificate when there is no Secret, and keeps it there for others", async () => {
  const { api, clock, source } = await start();
  const certificate = await first(source());
  expect(isFresh(certificate, NAMES, clock.now)).toBe(true);
  expect(stored(api)).toEqual(secretOf(certificate));
});

test("createSecretSource() serves the certificate that another replica has made", async () => {
  const made = await createCertificate(NAMES, Date.now());
  const { api, source } = await start({ secret: secretOf(made) });
  expect(await first(source())).toEqual(made);
  expect(api.requests).toHaveLength(1);
});

test.each([
  ["make", undefined],
  ["renew", 70 * DAY],
])("createSecretSource() ends with the same certificate when two replicas %s it at the same time", async (_, age) => {
  // both read before either writes
  const { promise: both, resolve } = Promise.withResolvers<undefined>();
  let reads = 0;
  const { api, source } = await start({
    ...(age ? { secret: secretOf(await createCertificate(NAMES, Date.now() - age)) } : {}),
    onRequest: ({ method }) => {
      if (method === "GET" && ++reads === 2) resolve(undefined);
      return method === "GET" ? undefined : both;
    },
  });
  const [one, other] = await Promise.all([first(source()), first(source())]);
  expect(one).toEqual(other);
  expect(stored(api)).toEqual(secretOf(one));
  expect(api.requests.filter((request) => !request.startsWith("GET"))).toHaveLength(2); // one of them a conflict
});

test("createSecretSource() replaces an old certificate by one that clients of both trust", async () => {
  const now = Date.now();
  const old = await createCertificate(NAMES, now - 70 * DAY);
  const { api, source } = await start({ now, secret: secretOf(old) });
  const renewed = await first(source());
  expect(renewed.cert).not.toBe(old.cert);
  expect(isFresh(renewed, NAMES, now)).toBe(true);
  expect(renewed.ca.match(/BEGIN CERTIFICATE/g)).toHaveLength(2);
  expect(renewed.ca).toContain(old.ca.trim());
  expect(stored(api)).toEqual(secretOf(renewed));
});

test("createSecretSource() replaces what is no certificate for its names", async () => {
  const now = Date.now();
  const other = await createCertificate(["elsewhere"], now);
  for (const secret of [
    secretOf(other),
    { type: "kubernetes.io/tls", data: { "tls.crt": "eA==" } },
    { type: "Opaque" },
  ]) {
    const { api, source } = await start({ now, secret });
    const made = await first(source());
    expect(isFresh(made, NAMES, now)).toBe(true);
    expect(stored(api)).toEqual({ type: secret.type, data: secretOf(made).data });
  }
});

test("createSecretSource() renews its certificate when two thirds of the time are over", async () => {
  const { api, clock, source, published } = await start();
  const { iterator } = open(source());
  const { value: made } = await iterator.next();
  expect(published).toEqual([made]);
  clock.now += 61 * DAY;
  const { value: renewed } = await afterWaiting(iterator);
  expect(published).toEqual([made, renewed]);
  expect(renewed.cert).not.toBe(made.cert);
  expect(stored(api)).toEqual(secretOf(renewed));
});

test("createSecretSource() waits for the API server at the start, and logs which call failed", async () => {
  const lines: string[] = [];
  const answers = [503, 403].map((status) => () => Response.json({ message: `status ${status}` }, { status }));
  const { source } = await start({ log: recordingLog(lines), onRequest: () => answers.shift()?.() });
  await first(source());
  const path = "/api/v1/namespaces/bitfusion-system/secrets/bitfusion-webhook-tls";
  expect(lines.filter((line) => line.includes("Cannot"))).toEqual([
    `Cannot get the certificate: GET ${path} answered 503: status 503`,
    `Cannot get the certificate: GET ${path} answered 403: status 403`,
  ]);
});

test("createSecretSource() goes on with what it has when the API server fails later", async () => {
  let isDown = false;
  const asked = Promise.withResolvers<void>();
  const { clock, source } = await start({
    onRequest: () => {
      if (!isDown) return undefined;
      asked.resolve();
      return Response.json({ message: "down" }, { status: 500 });
    },
  });
  const { iterator, over } = open(source());
  await iterator.next();
  isDown = true;
  clock.now += 61 * DAY;
  const next = afterWaiting(iterator);
  await asked.promise;
  over.abort();
  expect(await next).toEqual({ done: true, value: undefined }); // it was waiting again, not failed
});
