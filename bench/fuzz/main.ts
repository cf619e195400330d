import { parseArgs } from "node:util";
import { median } from "../common/statistics.ts";
import { type Connection, connect } from "../webhook/connection.ts";
import { createRequest } from "../webhook/review.ts";
import { createTlsFolder, startServer } from "../webhook/server_process.ts";
import { judge } from "./judge.ts";
import { createRandomRequest, type RandomRequest } from "./random_request.ts";

const CONNECTIONS = 32;

/** After so many reviews the compiler is done and memory should stay as it is. It is looked at for as many: it moves with each large body. */
const WARM_UP = 10_000;

/** Reviews from one look at the memory to the next. */
const STEP = 500;

/** For how long no answer may come, in ms: then something hangs. */
const PATIENCE = 60_000;

/** Faults that are printed; the others are only counted. */
const MOST_PRINTED = 10;

const { values, positionals } = parseArgs({ allowPositionals: true, options: { seed: { type: "string" } } });
const [count, seed] = [Number(positionals[0] ?? 1_000_000), Number(values.seed ?? Date.now() % 2 ** 31)];
if (!Number.isSafeInteger(count) || count < 1 || !Number.isSafeInteger(seed)) {
  console.error('fuzz: Expected a number of reviews, and a whole number after "--seed"');
  process.exit(2);
}
console.log(`${count} reviews, --seed ${seed}`);

const over = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => over.abort());
const isFaultless = await fuzz();
process.exit(isFaultless && !over.signal.aborted ? 0 : 1);

/** Sends them all. False if one answer was wrong. */
async function fuzz(): Promise<boolean> {
  await using tls = await createTlsFolder();
  await using webhook = await startServer("webhook/main.ts", { tls: tls.path, environment: { TOKENS: "off" } });
  const outcomes = new Map<string, number>();
  const memories = [await webhook.memory()];
  let [next, answered, faults] = [0, 0, 0];

  async function work(): Promise<void> {
    let connection: Connection | undefined;
    while (next < count && !over.signal.aborted) {
      const index = next++;
      const request = createRandomRequest(seed, index);
      try {
        if (!connection?.isOpen) connection = await connect({ port: webhook.port, ca: tls.ca });
        const { outcome, fault } = judge(request, await connection.send(createRequest(request.body, request)));
        outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
        if (fault) report(index, request, `${outcome}: ${fault}`);
      } catch (error) {
        if (!over.signal.aborted) report(index, request, String(error));
      }
      if (request.kind === "too large") connection?.[Symbol.dispose](); // the answer may come before all is sent
      if (++answered % STEP === 0) memories.push(await webhook.memory());
    }
    connection?.[Symbol.dispose]();
  }

  function report(index: number, { kind, path, type, body }: RandomRequest, fault: string): void {
    if (++faults > MOST_PRINTED) return;
    console.error(
      `Review ${index} (${kind}) to ${path} as "${type}": ${fault}\n${Buffer.from(body).toString().slice(0, 4000)}\n`,
    );
  }

  const started = performance.now();
  const workers = Promise.all(Array.from({ length: CONNECTIONS }, work));
  workers.catch(() => over.abort()); // a fault of the generator: the others' connections end with the webhook
  const hangs = await Promise.race([workers.then(() => false), stalled(() => answered)]);
  const seconds = (performance.now() - started) / 1000;
  if (hangs) console.error(`No answer came for ${PATIENCE / 1000} s after ${answered}`);
  const [start = Number.NaN] = memories;
  const looks = WARM_UP / STEP;
  const warm = median(memories.slice(looks, 2 * looks));
  const end = median(memories.slice(-looks));
  console.table(Object.fromEntries([...outcomes].sort(([, a], [, b]) => b - a)));
  console.log(
    `${answered} reviews in ${seconds.toFixed(0)} s: ${(answered / seconds).toFixed(0)} a second, ${faults} faults`,
  );
  const text = (bytes: number) => `${(bytes / 1e6).toFixed(0)} MB`;
  const ratio = (end / warm).toFixed(2);
  console.log(
    `Memory: ${text(start)} at the start, ${text(warm)} after ${WARM_UP}, ${text(end)} at the end (× ${ratio})`,
  );
  return faults === 0 && !hangs;
}

/** Resolves when a number did not grow for a while, or the test is over. */
function stalled(progress: () => number): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  let last = -1;
  const timer = setInterval(() => {
    if (progress() === last) resolve(true);
    last = progress();
  }, PATIENCE);
  timer.unref();
  return promise;
}
