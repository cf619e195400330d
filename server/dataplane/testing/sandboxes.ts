import { chmod, copyFile, link, mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import type { DataPlaneConfiguration } from "../configuration.ts";
import { connectFd } from "../sandbox/connect_fd.ts";

/** Whether this machine lets tests isolate processes, as a data plane needs it. */
export const CAN_ISOLATE = process.getuid?.() === 0;

/** A program that stands in for a data plane: see listener.ts. */
const LISTENER = join(import.meta.dir, "listener.ts");

let ranges = process.pid % 10_000;

/** The configuration of a data plane, with uids and a folder of its own. Disposal removes the folder. */
export async function createTestDataPlane(environment: Record<string, string> = {}) {
  const folder = await mkdtemp(join("/run", "bitfusion-test-"));
  const { command, remove } = await installListener();
  const configuration: DataPlaneConfiguration = {
    name: "test",
    build: "1",
    command,
    environment: { PORT: "{port}", ...environment },
    folder,
    // test files run at the same time, and a server ends all processes with its uids
    memoryTolerance: 512,
    firstUid: 1_000_000_000 + 200_000 * (ranges++ % 10_000),
  };
  return {
    configuration,
    async [Symbol.asyncDispose]() {
      await Promise.all([rm(folder, { recursive: true }), remove()]);
    },
  };
}

/** Puts Bun and the listener where every user reaches them: both may be in a home folder, which is root's alone. */
async function installListener() {
  const folder = await mkdtemp(join("/run", "bitfusion-listener-"));
  await chmod(folder, 0o755);
  const [bun, listener] = [join(folder, "bun"), join(folder, "listener.ts")];
  await link(process.execPath, bun).catch(() => copyFile(process.execPath, bun)); // 100 MB, if it is on another file system
  await copyFile(LISTENER, listener);
  return { command: [bun, listener], remove: () => rm(folder, { recursive: true }) };
}

/** Sends a line to a listener, and returns its answer. Closes the socket. */
export async function ask(fd: number, line: string): Promise<unknown> {
  const answer = Promise.withResolvers<string>();
  let text = "";
  const socket = await connectFd({
    fd,
    socket: {
      data(_, data) {
        text += data.toString();
        if (text.endsWith("\n")) answer.resolve(text);
      },
      close: () => answer.reject(new Error("The connection was closed")),
    },
  });
  socket.write(`${line}\n`);
  try {
    return JSON.parse(await answer.promise);
  } finally {
    socket.end();
  }
}
