import { join } from "node:path";
import { createTlsFolder, type ServerProcess, startServer } from "../common/server_process.ts";
import { median } from "../common/statistics.ts";
import { connect } from "./connection.ts";
import { type LoadResult, runLoad } from "./load.ts";
import { createRequest, createReview } from "./review.ts";

/** Measured rounds. In each, both servers get the same load in turn, so that drift of the machine affects both. */
const ROUNDS = 15;

/** Rounds that are not measured, for the JIT compiler: it needs about 15,000 reviews for the webhook. */
const WARM_UP = 2;

interface Case {
  readonly name: string;
  /** Size of each AdmissionReview, in bytes. */
  readonly bytes: number;
  readonly connections: number;
  readonly reviews: number;
}

const CASES: readonly Case[] = [
  { name: "20 KB pod, 16 connections", bytes: 20_000, connections: 16, reviews: 10_000 },
  { name: "1 MB pod, 16 connections", bytes: 1_000_000, connections: 16, reviews: 300 },
  { name: "20 KB pod, 1,000 connections, one review each", bytes: 20_000, connections: 1000, reviews: 1000 },
];

/** Measures POST /mutate of the webhook over TLS, and of a bare Bun.serve that parses and serializes the same bodies. */
export async function benchWebhook(): Promise<Record<string, string>[]> {
  const rows: Record<string, string>[] = [];
  for (const each of CASES) rows.push(...(await benchCase(each)));
  return rows;
}

async function benchCase({ name, ...load }: Case): Promise<Record<string, string>[]> {
  await using tls = await createTlsFolder();
  await using webhook = await startServer("webhook/main.ts", {
    tls: tls.path,
    environment: { ALLOCATION: "units", TOKENS: "off" },
  });
  const ANSWER = await webhookResponse(webhook, tls.ca, load.bytes);
  await using baseline = await startServer("bench/webhook/baseline_server.ts", {
    tls: tls.path,
    environment: { ANSWER },
  });
  const measure = ({ port }: ServerProcess) => runLoad({ port, ca: join(tls.path, "ca.pem"), ...load });
  for (let round = 0; round < WARM_UP; round++) for (const server of [webhook, baseline]) await measure(server);
  const rounds: { webhook: LoadResult; baseline: LoadResult }[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    rounds.push({ webhook: await measure(webhook), baseline: await measure(baseline) });
  }
  const ratio = median(rounds.map((round) => round.webhook.perSecond / round.baseline.perSecond));
  return [
    row(
      name,
      "baseline",
      rounds.map((round) => round.baseline),
    ),
    {
      ...row(
        "",
        "webhook",
        rounds.map((round) => round.webhook),
      ),
      "reviews/s ratio": ratio.toFixed(2),
    },
  ];
}

/** Returns the webhook's response body to a review of this size. */
async function webhookResponse({ port }: ServerProcess, ca: string, bytes: number): Promise<string> {
  using connection = await connect({ port, ca });
  return (await connection.send(createRequest(createReview(bytes)))).body.toString();
}

function row(name: string, server: string, results: readonly LoadResult[]): Record<string, string> {
  const medianOf = (key: keyof LoadResult) => median(results.map((result) => result[key]));
  return {
    load: name,
    server,
    "reviews/s": medianOf("perSecond").toFixed(0),
    "p50 ms": medianOf("p50").toFixed(1),
    "p99 ms": medianOf("p99").toFixed(1),
    failures: String(results.reduce((sum, { failures }) => sum + failures, 0)),
  };
}
