import { readFile } from "node:fs/promises";
import { connect } from "./connection.ts";
import { createRequest, createReview } from "./review.ts";

/** The requests to send. */
export interface Load {
  readonly port: number;
  /** Path of the CA certificate, in PEM. */
  readonly ca: string;
  /** Size of each AdmissionReview, in bytes. */
  readonly bytes: number;
  readonly connections: number;
  /** Number of reviews, split over the connections, which all open at the same time. */
  readonly reviews: number;
}

/** The results of a load. Times in ms. */
export interface LoadResult {
  readonly perSecond: number;
  readonly total: number;
  readonly p50: number;
  readonly p99: number;
  readonly failures: number;
}

/** Sends a load from a separate process, to keep the cost of measuring apart. @throws {Error} if the process fails. */
export async function runLoad(load: Load): Promise<LoadResult> {
  const child = Bun.spawn([process.execPath, import.meta.path, JSON.stringify(load)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const output = await new Response(child.stdout).text();
  if ((await child.exited) !== 0) throw new Error("The load generator failed");
  return JSON.parse(output);
}

async function send({ port, ca: path, bytes, connections, reviews }: Load): Promise<LoadResult> {
  const ca = await readFile(path, "utf8");
  const request = createRequest(createReview(bytes));
  const times: number[] = [];
  let left = reviews;
  let failures = 0;

  async function work(): Promise<void> {
    let start = performance.now(); // the first review of a connection waits for the handshake
    try {
      using connection = await connect({ port, ca });
      while (left-- > 0) {
        const { status, body } = await connection.send(request);
        if (status !== 200 || !body.includes('"allowed":true')) failures++;
        const end = performance.now();
        times.push(end - start);
        start = end;
      }
    } catch {
      failures++;
    }
  }

  const start = performance.now();
  await Promise.all(Array.from({ length: connections }, work));
  const total = performance.now() - start;
  times.sort((a, b) => a - b);
  const at = (fraction: number) => times[Math.floor((times.length - 1) * fraction)] ?? Number.NaN;
  return { perSecond: (times.length / total) * 1000, total, p50: at(0.5), p99: at(0.99), failures };
}

if (import.meta.main) console.log(JSON.stringify(await send(JSON.parse(process.argv[2] ?? ""))));
