import { expect, test } from "bun:test";
import { createSecureServer, type ServerHttp2Stream } from "node:http2";
import type { AddressInfo, Socket } from "node:net";
import { join } from "node:path";
import { create, toBinary } from "@bufbuild/protobuf";
import { type Gpu, WatchInventoryResponseSchema } from "../../proto/gen/bitfusion/pool/v1/pool_pb.ts";
import { TEST_CLIENT, TEST_SERVER } from "../../tls/testing.ts";
import type { PoolServer } from "../inventory.ts";
import { startInventoryServer } from "./testing.ts";

const MEBIBYTE = 1024 * 1024;

/** Half of the memory of the device plugin's container, which follows the pool on every node, in bytes. */
const MEMORY_LIMIT = 128 * MEBIBYTE;

/** Time for a test, which starts a program, in ms. */
const TIMEOUT = 20_000;

interface Hostile {
  /** Sends what it wants to, until the stream is closed. */
  send: (stream: ServerHttp2Stream) => void;
  /** Whether the program has seen what there is to see: the state of the hostile server, the number of inventories, the log. */
  until: (server: PoolServer, count: number, log: readonly string[]) => boolean;
  warning?: string;
}

test.each<[description: string, hostile: Hostile]>([
  [
    "announces a message of 3 GB and dribbles",
    {
      send: (stream) => dribble(stream, header(3_000_000_000)),
      until: isSilent,
      warning: "message size 3000000000 is larger than configured readMaxBytes",
    },
  ],
  [
    "never ends a message",
    { send: (stream) => dribble(stream, header(MEBIBYTE)), until: isSilent, warning: "No message for 2000 ms" },
  ],
  [
    "sends a name of 10 MB",
    {
      send: (stream) => stream.write(message([{ id: "x".repeat(10_000_000) }])),
      until: isSilent,
      warning: "is larger than configured readMaxBytes",
    },
  ],
  [
    "sends 2,000,000 GPUs of 2 bytes",
    {
      send: (stream) => stream.write(repeated([0x12, 0], 2_000_000)),
      until: isSilent,
      warning: "is larger than configured readMaxBytes",
    },
  ],
  [
    "sends 1,000,000 GPUs with the same id",
    {
      send: (stream) => stream.write(repeated([0x12, 3, 0x0a, 1, 0x61], 1_000_000)),
      until: isSilent,
      warning: "is larger than configured readMaxBytes",
    },
  ],
  [
    "sends 1,000,000 GPUs of 2 bytes",
    {
      send: (stream) => stream.write(repeated([0x12, 0], 1_000_000)),
      until: ({ gpus }, _, log) => gpus?.length === 0 && log.some((line) => line.includes("1000000 elements")),
      warning: "gpus has 1000000 elements: expected at most 16384, the others are ignored",
    },
  ],
  [
    "sends 600,000 unknown fields again and again",
    {
      send: (stream) => {
        const fields = repeated([0xf8, 0x01, 0], 600_000);
        for (let count = 0; count < 5; count += 1) stream.write(fields);
      },
      until: ({ gpus }) => gpus?.length === 0,
    },
  ],
  [
    "sends bytes that are no inventory",
    {
      send: (stream) => stream.write(Buffer.concat([header(4), Buffer.from([0x0a, 2, 0xff, 0xff])])),
      until: isSilent,
      warning: "Cannot read the server's inventory: premature EOF",
    },
  ],
  [
    "sends negative memory and control characters",
    {
      send: (stream) =>
        stream.write(
          message([
            { id: "\u001b[2J\u009b2J", memoryMb: -1n },
            { id: "h/0", memoryMb: -1n },
          ]),
        ),
      until: ({ gpus }) => gpus?.length === 0,
      warning: "gpus.1.memoryMb is -1: expected a whole number of MB",
    },
  ],
  [
    "refuses with a long text that has control characters",
    {
      send: (stream) => {
        const text = "%1B[2J%C2%9B".repeat(1000);
        stream.once("wantTrailers", () => stream.sendTrailers({ "grpc-status": "7", "grpc-message": text }));
        stream.end();
      },
      until: isSilent,
      warning: "[permission_denied]",
    },
  ],
  [
    "changes what is wrong in each message, as fast as it can",
    {
      send: (stream) => {
        let count = 0;
        repeat(stream, () => stream.write(message([{ id: "h/0" }, { id: "bad", memoryMb: BigInt(-count++) }])));
      },
      until: (_, count, log) => count > 0 && log.some((line) => line.includes("-18")),
      warning: "gpus.1.memoryMb is -1:",
    },
  ],
  [
    "repeats another GPU in each message, as fast as it can",
    {
      send: (stream) => {
        let count = 0;
        repeat(stream, () => {
          const id = `h/${count++}`;
          stream.write(message([{ id }, { id }]));
        });
      },
      until: (_, count) => count > 24,
      warning: "no other GPU has",
    },
  ],
])(
  "a server that %s costs the other servers nothing, and little memory and log",
  async (_, hostile) => {
    await using bad = await startHostileServer(hostile.send);
    await using good = await startInventoryServer({ hostname: "good", gpus: 2 });
    await using program = follow([bad.address, good.address]);
    const log: string[] = [];
    let count = 0;
    let hostileServer: PoolServer = { address: bad.address, reachable: true };
    for await (const line of program.lines) {
      if (line.startsWith("{")) log.push(line);
      else {
        const servers = JSON.parse(line.slice("inventory ".length)) as [PoolServer, PoolServer];
        count += 1;
        if (count === 1 && !servers[1].gpus) continue; // it is not known yet
        expect(servers[1]).toEqual({ address: good.address, reachable: true, gpus: good.gpus, facts: good.facts });
        hostileServer = servers[0];
      }
      if (hostile.until(hostileServer, count, log)) break;
    }
    const { peak, rest } = await program.end();
    log.push(...rest.filter((line) => line.startsWith("{")));
    expect(peak).toBeLessThan(MEMORY_LIMIT);
    const aboutBad = log.filter((line) => !line.includes(good.address));
    expect(aboutBad.length).toBeLessThan(60);
    for (const line of aboutBad) {
      expect(line).toContain(bad.address);
      expect(line).not.toMatch(/\p{Cc}/u);
      expect(line.length).toBeLessThan(8192);
    }
    expect(aboutBad.join("\n")).toContain(hostile.warning ?? bad.address);
  },
  TIMEOUT,
);

test(
  "a server cannot take the GPUs of another one",
  async () => {
    await using good = await startInventoryServer({ hostname: "good", gpus: 2 });
    await using bad = await startInventoryServer({ hostname: "bad", gpus: [] });
    await using program = follow([bad.address, good.address]);
    for await (const line of program.lines) {
      if (!line.startsWith("inventory ")) continue;
      const [badServer, goodServer] = JSON.parse(line.slice("inventory ".length)) as [PoolServer, PoolServer];
      if (!goodServer.gpus) continue; // it is not known yet
      expect(goodServer.gpus).toEqual(good.gpus);
      if (badServer.gpus?.length === 1) return;
      bad.setGpus([...good.gpus, { id: "bad/0", model: "T4", memoryMb: 1, healthy: true }]);
    }
    throw new Error("The program has ended");
  },
  TIMEOUT,
);

function isSilent({ reachable }: PoolServer): boolean {
  return !reachable;
}

/** The header of a gRPC message with a length in bytes. */
function header(length: number): Buffer {
  const bytes = Buffer.alloc(5);
  bytes.writeUInt32BE(length, 1);
  return bytes;
}

function message(gpus: readonly Partial<Pick<Gpu, "id" | "memoryMb">>[]): Buffer {
  const inventory = { gpus: gpus.map((gpu) => ({ model: "Tesla T4", memoryMb: 16_000n, healthy: true, ...gpu })) };
  const body = toBinary(WatchInventoryResponseSchema, create(WatchInventoryResponseSchema, { inventory }));
  return Buffer.concat([header(body.length), body]);
}

/** A message whose inventory consists of many times the same bytes. */
function repeated(field: readonly number[], count: number): Buffer {
  const inventory = Buffer.concat(Array(count).fill(Buffer.from(field)));
  const length: number[] = [];
  for (let rest = inventory.length; rest > 0; rest >>>= 7) length.push((rest & 127) | (rest > 127 ? 128 : 0));
  const body = Buffer.concat([Buffer.from([0x0a, ...length]), inventory]);
  return Buffer.concat([header(body.length), body]);
}

/** Writes a header, and then a byte in each turn of the event loop. */
function dribble(stream: ServerHttp2Stream, first: Buffer): void {
  stream.write(first);
  const timer = setInterval(() => stream.write(Buffer.alloc(1)), 20);
  stream.once("close", () => clearInterval(timer));
}

/** Calls a function as often as possible while the stream is open and takes more. */
function repeat(stream: ServerHttp2Stream, call: () => unknown): void {
  if (stream.closed || stream.destroyed) return;
  for (let count = 0; count < 10; count += 1) call();
  if (stream.writableNeedDrain) stream.once("drain", () => repeat(stream, call));
  else setImmediate(repeat, stream, call);
}

/** Starts a server that answers each watch with `send`. */
async function startHostileServer(send: (stream: ServerHttp2Stream) => void) {
  const { cert, key, ca } = TEST_SERVER;
  const server = createSecureServer({ cert, key, ca, requestCert: true, rejectUnauthorized: true });
  const sockets = new Set<Socket>();
  server.on("connection", (socket: Socket) => sockets.add(socket.on("error", () => {})));
  server.on("session", (session) => session.on("error", () => {}));
  server.on("stream", (stream: ServerHttp2Stream) => {
    stream.on("error", () => {});
    stream.respond({ ":status": 200, "content-type": "application/grpc+proto" }, { waitForTrailers: true });
    send(stream);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      const closed = new Promise((resolve) => server.close(resolve));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

/** Starts a program that follows servers. It writes its log, and a line with the servers of each inventory. */
function follow(addresses: readonly string[]) {
  const script = `
    import { readFileSync } from "node:fs";
    import { createLatest } from ${JSON.stringify(join(import.meta.dir, "../../program/latest.ts"))};
    import { createPoolSource } from ${JSON.stringify(join(import.meta.dir, "pool_source.ts"))};
    import { createLogger, createLogOutput } from ${JSON.stringify(join(import.meta.dir, "../../program/log/log.ts"))};
    const output = createLogOutput("program");
    const source = createPoolSource(${JSON.stringify(addresses.map((address) => ({ address })))}, {
      interval: 3000,
      token: createLatest(${JSON.stringify({ tls: TEST_CLIENT })}).changes,
      log: createLogger("program", output),
    });
    const stop = new AbortController();
    process.stdin.on("end", () => stop.abort()).resume();
    for await (const { servers } of source(stop.signal)) output("inventory " + JSON.stringify(servers) + "\\n");
    output("peak " + /VmHWM:\\s+(\\d+)/.exec(readFileSync("/proc/self/status", "utf8"))[1] * 1024 + "\\n");
    process.exit();
  `;
  const child = Bun.spawn([process.execPath, "-e", script], { stdio: ["pipe", "pipe", "inherit"] });
  const lines = linesOf(child.stdout);
  return {
    lines,
    /** Ends the program, and returns its largest resident memory in bytes and its last lines. */
    async end(): Promise<{ peak: number; rest: readonly string[] }> {
      await child.stdin.end();
      const rest = await Array.fromAsync(lines);
      return { peak: Number(rest.find((line) => line.startsWith("peak "))?.slice(5)), rest };
    },
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await child.exited;
    },
  };
}

/** The lines of a stream. A reader that stops can continue later. */
function linesOf(stream: ReadableStream<Uint8Array<ArrayBuffer>>): AsyncIterableIterator<string> {
  async function* read() {
    let text = "";
    for await (const chunk of stream.pipeThrough(new TextDecoderStream())) {
      text += chunk;
      const complete = text.split("\n");
      text = complete.pop() ?? "";
      yield* complete;
    }
  }
  const lines = read();
  return { next: () => lines.next(), [Symbol.asyncIterator]: () => ({ next: () => lines.next() }) } as never;
}
