import { parseArgs } from "node:util";
import { createTlsFolder, startServer } from "../common/server_process.ts";
import { median } from "../common/statistics.ts";
import { type Connection, connect } from "../webhook/connection.ts";
import { createRequest } from "../webhook/review.ts";
import { checkResponse } from "./check_response.ts";
import { createRandomRequest, type RandomRequest } from "./random_request.ts";

const CONNECTIONS = 32;

/**
 * Reviews after which the JIT compiler is done and memory should be stable. Memory is reported as the median over as
 * many, because each large body changes it.
 */
const WARM_UP = 10_000;

/** Reviews between two samples of the memory. */
const SAMPLE_INTERVAL = 500;

/** Time without any response after which the webhook counts as hung, in ms. */
const RESPONSE_TIMEOUT = 60_000;

/** Failures that are printed in full; more are only counted. */
const MAX_PRINTED = 10;

const { values, positionals } = parseArgs({ allowPositionals: true, options: { seed: { type: "string" } } });
const [count, seed] = [Number(positionals[0] ?? 1_000_000), Number(values.seed ?? Date.now() % 2 ** 31)];
if (!Number.isSafeInteger(count) || count < 1 || !Number.isSafeInteger(seed)) {
  console.error('fuzz: Cannot parse the arguments: expected a number of reviews, and a whole number after "--seed"');
  process.exit(2);
}
console.log(`${count} reviews, --seed ${seed}`);

const stop = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => stop.abort());
const passed = await fuzz();
process.exit(passed && !stop.signal.aborted ? 0 : 1);

/** Sends all reviews. Returns false if a response was wrong or none came in time. */
async function fuzz(): Promise<boolean> {
  await using tls = await createTlsFolder();
  await using webhook = await startServer("webhook/main.ts", {
    tls: tls.path,
    environment: { ALLOCATION: "units", TOKENS: "off" },
  });
  const outcomes = new Map<string, number>();
  const memories = [await webhook.memory()];
  let [next, responses, failures] = [0, 0, 0];

  async function work(): Promise<void> {
    let connection: Connection | undefined;
    while (next < count && !stop.signal.aborted) {
      const index = next++;
      const request = createRandomRequest(seed, index);
      try {
        if (!connection?.isOpen) connection = await connect({ port: webhook.port, ca: tls.ca });
        const response = await connection.send(createRequest(request.body, request));
        const { outcome, problem } = checkResponse(request, response);
        outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
        if (problem) report(index, request, `${outcome}: ${problem}`);
      } catch (error) {
        if (!stop.signal.aborted) report(index, request, String(error));
      }
      if (request.kind === "too large") connection?.[Symbol.dispose](); // it may respond before it has read all
      if (++responses % SAMPLE_INTERVAL === 0) memories.push(await webhook.memory());
    }
    connection?.[Symbol.dispose]();
  }

  function report(index: number, { kind, path, type, body }: RandomRequest, problem: string): void {
    if (++failures > MAX_PRINTED) return;
    console.error(
      `Review ${index} (${kind}) to ${path} as "${type}": ${problem}\n${Buffer.from(body).toString().slice(0, 4000)}\n`,
    );
  }

  const started = performance.now();
  const workers = Promise.all(Array.from({ length: CONNECTIONS }, work));
  workers.catch(() => stop.abort()); // a bug in the generator: the other workers' connections end with the webhook
  const hangs = await Promise.race([workers.then(() => false), stalled(() => responses)]);
  const seconds = (performance.now() - started) / 1000;
  if (hangs) console.error(`No response for ${RESPONSE_TIMEOUT / 1000} s after ${responses} responses`);
  const [start = Number.NaN] = memories;
  const samples = WARM_UP / SAMPLE_INTERVAL;
  const warm = median(memories.slice(samples, 2 * samples));
  const end = median(memories.slice(-samples));
  console.table(Object.fromEntries([...outcomes].sort(([, a], [, b]) => b - a)));
  console.log(
    `${responses} reviews in ${seconds.toFixed(0)} s: ${(responses / seconds).toFixed(0)} per second, ${failures} failures`,
  );
  const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(0)} MB`;
  const ratio = (end / warm).toFixed(2);
  console.log(
    `Memory: ${megabytes(start)} at the start, ${megabytes(warm)} after ${WARM_UP}, ${megabytes(end)} at the end (× ${ratio})`,
  );
  return failures === 0 && !hangs;
}

/** Resolves to true when `progress` has not changed for RESPONSE_TIMEOUT. Never resolves while it changes. */
function stalled(progress: () => number): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  let last = -1;
  const timer = setInterval(() => {
    if (progress() === last) resolve(true);
    last = progress();
  }, RESPONSE_TIMEOUT);
  timer.unref();
  return promise;
}
