import { afterEach, expect, jest, test } from "bun:test";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { V1Secret } from "@kubernetes/client-node";
import {
  connectWithKubeconfig,
  kubeconfigOf,
  type SimulatedApiServer,
  startSimulatedApiServer,
} from "../../kubernetes/simulated/api_server.ts";
import type { Logger } from "../../program/log/log.ts";
import { createRecordingLog, silentLog } from "../../program/testing.ts";
import { type Certificate, createCertificate } from "../../tls/certificate.ts";
import { isUsable } from "../../tls/key_pair.ts";
import { type CertificateSource, createFileSource, createSecretSource } from "./certificate_source.ts";

const NAMES = ["localhost"] as const;
const [NAMESPACE, NAME] = ["bitfusion-system", "bitfusion-webhook-tls"];
const PATH = `/api/v1/namespaces/${NAMESPACE}/secrets/${NAME}`;
const DAY = 24 * 3600_000;

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** The certificates of a source, and the controller that ends it. */
function open(source: CertificateSource) {
  const ended = new AbortController();
  cleanups.push(() => ended.abort());
  return { iterator: source(ended.signal)[Symbol.asyncIterator](), ended };
}

async function first(source: CertificateSource): Promise<Certificate> {
  const { value } = await open(source).iterator.next();
  return value;
}

/** The next certificate. Skips the wait between two reads; the reads themselves are real. */
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

test("createFileSource() yields the certificate in the files, and again when the files change", async () => {
  const [before, after] = await Promise.all([
    createCertificate(NAMES, Date.now()),
    createCertificate(NAMES, Date.now()),
  ]);
  const paths = await files(before.cert, before.key);
  const { iterator, ended } = open(createFileSource(paths, silentLog));
  expect((await iterator.next()).value).toEqual({ ...before, ca: "" });
  await Promise.all([writeFile(paths.cert, after.cert), writeFile(paths.key, after.key)]);
  expect((await afterWaiting(iterator)).value).toEqual({ ...after, ca: "" });
  const end = iterator.next();
  ended.abort();
  expect(await end).toEqual({ done: true, value: undefined });
});

const [good, next] = await Promise.all([createCertificate(NAMES, Date.now()), createCertificate(NAMES, Date.now())]);
const GARBAGE = "-----BEGIN CERTIFICATE-----\nZ2FyYmFnZQ==\n-----END CERTIFICATE-----\n";

/** Files that cannot be used, and the reason that is logged. `undefined`: the file does not exist. */
const UNUSABLE: [description: string, cert: string | undefined, key: string | undefined, reason: RegExp][] = [
  ["a certificate file that does not exist", undefined, good.key, /^Cannot read TLS_CERT_FILE=".*tls.crt": ENOENT/],
  ["a key file that does not exist", good.cert, undefined, /^Cannot read TLS_KEY_FILE=".*tls.key": ENOENT/],
  [
    "a certificate without its key yet",
    next.cert,
    good.key,
    /^Cannot use TLS_KEY_FILE=".*": expected the key of the cert/,
  ],
  [
    "text instead of a certificate",
    "x",
    good.key,
    /^Cannot use TLS_CERT_FILE=".*tls.crt": expected a certificate in PEM$/,
  ],
  ["PEM of something else", GARBAGE, good.key, /^Cannot use TLS_CERT_FILE=".*tls.crt": expected a certificate in PEM$/],
  ["an empty key", good.cert, "", /^Cannot use TLS_KEY_FILE=".*tls.key": expected a private key in PEM$/],
];

async function write(paths: { cert: string; key: string }, cert: string | undefined, key: string | undefined) {
  const texts = { cert, key };
  for (const which of ["cert", "key"] as const) {
    const text = texts[which];
    if (text === undefined) await rm(paths[which]);
    else await writeFile(paths[which], text);
  }
}

test.each(UNUSABLE)(
  "createFileSource() waits at the start while there is %s, and says why",
  async (_, cert, key, reason) => {
    const paths = await files("", "");
    await write(paths, cert, key);
    const logged = Promise.withResolvers<string>();
    const log = { error: (_message: string, fields: { reason: string }) => logged.resolve(fields.reason) } as never;
    const certificate = first(createFileSource(paths, log));
    expect(await logged.promise).toMatch(reason);
    await write(paths, good.cert, good.key);
    expect(await certificate).toEqual({ ...good, ca: "" });
  },
);

test.each(UNUSABLE)(
  "createFileSource() keeps its certificate while there is %s, and takes the next good one",
  async (_, cert, key, reason) => {
    const paths = await files(good.cert, good.key);
    const lines: string[] = [];
    const { iterator } = open(createFileSource(paths, createRecordingLog(lines)));
    await iterator.next();
    await write(paths, cert, key);
    jest.useFakeTimers();
    const renewed = iterator.next();
    try {
      jest.advanceTimersByTime(30_000);
      while (lines.length === 0) await new Promise(setImmediate);
      expect(lines.map((line) => line.replace("Cannot get the certificate: ", ""))).toEqual([
        expect.stringMatching(reason),
      ]);
      await write(paths, next.cert, next.key);
      await new Promise(setImmediate);
      jest.advanceTimersByTime(30_000);
    } finally {
      jest.useRealTimers();
    }
    expect((await renewed).value).toEqual({ ...next, ca: "" });
  },
);

interface Setup {
  now?: number;
  log?: Logger;
  secret?: V1Secret;
  onRequest?: (request: Request) => Response | undefined | Promise<Response | undefined>;
}

/** Starts an API server. Returns it with a function that creates sources. */
async function start({ now = Date.now(), secret, onRequest, log = silentLog }: Setup = {}) {
  const api = startSimulatedApiServer({ onRequest: (request) => onRequest?.(request) });
  cleanups.push(() => api[Symbol.asyncDispose]());
  if (secret) api.store.put(PATH, secret);
  const { core } = await connectWithKubeconfig(kubeconfigOf(api.url));
  const clock = { now };
  const published: Certificate[] = [];
  const publish = async (certificate: Certificate) => void published.push(certificate);
  const source = () =>
    createSecretSource({ core, namespace: NAMESPACE, name: NAME, dnsNames: NAMES, publish, log, now: () => clock.now });
  return { api, clock, source, published };
}

function secretOf({ cert, key, ca }: Certificate) {
  const encode = (text: string) => Buffer.from(text).toString("base64");
  return {
    type: "kubernetes.io/tls",
    data: { "tls.crt": encode(cert), "tls.key": encode(key), "ca.crt": encode(ca) },
  };
}

function stored({ store }: SimulatedApiServer): unknown {
  const { type, data } = store.get<V1Secret>(PATH) ?? {};
  return { type, data };
}

test("createSecretSource() creates a certificate and stores it if the Secret does not exist", async () => {
  const { api, clock, source } = await start();
  const certificate = await first(source());
  expect(isUsable(certificate, NAMES, clock.now)).toBe(true);
  expect(stored(api)).toEqual(secretOf(certificate));
});

test("createSecretSource() yields the certificate that another replica has created", async () => {
  const created = await createCertificate(NAMES, Date.now());
  const { api, source } = await start({ secret: secretOf(created) });
  expect(await first(source())).toEqual(created);
  expect(api.requests).toHaveLength(1);
});

test.each([
  ["create", undefined],
  ["renew", 70 * DAY],
])("createSecretSource() yields the same certificate in two replicas that %s it at the same time", async (_, age) => {
  // both replicas read before either writes
  const { promise: bothRead, resolve } = Promise.withResolvers<undefined>();
  let reads = 0;
  const { api, source } = await start({
    ...(age ? { secret: secretOf(await createCertificate(NAMES, Date.now() - age)) } : {}),
    onRequest: ({ method }) => {
      if (method === "GET" && ++reads === 2) resolve(undefined);
      return method === "GET" ? undefined : bothRead;
    },
  });
  const [one, other] = await Promise.all([first(source()), first(source())]);
  expect(one).toEqual(other);
  expect(stored(api)).toEqual(secretOf(one));
  expect(api.requests.filter((request) => !request.startsWith("GET"))).toHaveLength(2); // one is a conflict
});

test("createSecretSource() replaces an old certificate and keeps the old CA beside the new one", async () => {
  const now = Date.now();
  const old = await createCertificate(NAMES, now - 70 * DAY);
  const { api, source } = await start({ now, secret: secretOf(old) });
  const renewed = await first(source());
  expect(renewed.cert).not.toBe(old.cert);
  expect(isUsable(renewed, NAMES, now)).toBe(true);
  expect(renewed.ca.match(/BEGIN CERTIFICATE/g)).toHaveLength(2);
  expect(renewed.ca).toContain(old.ca.trim());
  expect(stored(api)).toEqual(secretOf(renewed));
});

test("createSecretSource() replaces a certificate for other names, and an incomplete Secret", async () => {
  const now = Date.now();
  const other = await createCertificate(["elsewhere"], now);
  for (const secret of [
    secretOf(other),
    { type: "kubernetes.io/tls", data: { "tls.crt": "eA==" } },
    { type: "Opaque" },
  ]) {
    const { api, source } = await start({ now, secret });
    const created = await first(source());
    expect(isUsable(created, NAMES, now)).toBe(true);
    expect(stored(api)).toEqual({ type: secret.type, data: secretOf(created).data });
  }
});

/** Lets pending I/O finish while timers are faked. */
async function settle(isDone: () => boolean = () => true): Promise<void> {
  do for (let turn = 0; turn < 5; turn++) await new Promise(setImmediate);
  while (!isDone());
}

test("createSecretSource() renews after two thirds of the lifetime, and yields 10 s after it published the new CA", async () => {
  const { api, clock, source, published } = await start();
  const { iterator } = open(source());
  const { value: old } = await iterator.next();
  expect(published).toEqual([old]);
  clock.now += 61 * DAY;
  jest.useFakeTimers();
  let renewed: Certificate | undefined;
  try {
    void iterator.next().then(({ value }) => {
      renewed = value;
    });
    jest.advanceTimersByTime(30_000);
    await settle(() => published.length === 2);
    jest.advanceTimersByTime(9_999);
    await settle();
    expect(renewed).toBeUndefined();
    jest.advanceTimersByTime(1);
    await settle(() => renewed !== undefined);
  } finally {
    jest.useRealTimers();
  }
  expect(published).toEqual([old, renewed]);
  expect(renewed?.cert).not.toBe(old.cert);
  expect(stored(api)).toEqual(secretOf(renewed as Certificate));
});

test("createSecretSource() creates a certificate if its Secret is deleted, and waits like for a renewal", async () => {
  const { api, source, published } = await start();
  const { iterator } = open(source());
  const { value: old } = await iterator.next();
  api.store.remove(PATH);
  jest.useFakeTimers();
  let next: Certificate | undefined;
  try {
    void iterator.next().then(({ value }) => {
      next = value;
    });
    jest.advanceTimersByTime(30_000);
    await settle(() => published.length === 2);
    expect(next).toBeUndefined();
    jest.advanceTimersByTime(10_000);
    await settle(() => next !== undefined);
  } finally {
    jest.useRealTimers();
  }
  expect(published).toEqual([old, next]);
  expect(next?.cert).not.toBe(old.cert);
});

test("createSecretSource() retries its first read until it succeeds, and logs each failed call", async () => {
  const lines: string[] = [];
  const responses = [503, 403].map((status) => () => Response.json({ message: `status ${status}` }, { status }));
  const { source } = await start({ log: createRecordingLog(lines), onRequest: () => responses.shift()?.() });
  await first(source());
  const path = "/api/v1/namespaces/bitfusion-system/secrets/bitfusion-webhook-tls";
  expect(lines.filter((line) => line.includes("Cannot"))).toEqual([
    `Cannot get the certificate: GET ${path} answered 503: status 503`,
    `Cannot get the certificate: GET ${path} answered 403: status 403`,
  ]);
});

test("createSecretSource() keeps its certificate if the API server fails later", async () => {
  let isDown = false;
  const requested = Promise.withResolvers<void>();
  const { clock, source } = await start({
    onRequest: () => {
      if (!isDown) return undefined;
      requested.resolve();
      return Response.json({ message: "down" }, { status: 500 });
    },
  });
  const { iterator, ended } = open(source());
  await iterator.next();
  isDown = true;
  clock.now += 61 * DAY;
  const next = afterWaiting(iterator);
  await requested.promise;
  ended.abort();
  expect(await next).toEqual({ done: true, value: undefined }); // it was waiting for the next read and had not failed
});
