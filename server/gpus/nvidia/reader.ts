import { setImmediate as turn } from "node:timers/promises";
import { ConfigError } from "../../../program/config_error.ts";
import { messageOf } from "../../../program/log/log.ts";
import type { NvmlAnswers } from "./answers.ts";
import { openNvml } from "./nvml.ts";

/** The command of the program that runs {@link sendAnswers}. Its argument is the library. */
export const READ_GPUS = "read-gpus";

/** What the reader tells the server: what NVML answers, or why it cannot be used. */
export type ReaderMessage = NvmlAnswers | { readonly failure: string };

/** Time between two answers while no GPU has an Xid error, in ms. */
const PERIOD = 1000;

/** After this number of answers in which a GPU has failed, NVML is initialized afresh: it does not find a GPU again that was lost. */
const FAILED_ANSWERS = 5;

/**
 * Sends NVML's answers to the server that has started this process, until the server ends or the signal is aborted, or NVML fails or should be
 * initialized afresh. Calls of NVML block: a process of its own lets the server serve while the driver hangs.
 */
export async function sendAnswers(library: string, signal: AbortSignal): Promise<void> {
  const server = Promise.withResolvers<void>();
  process.once("disconnect", server.resolve);
  try {
    await readUntil(signal, library);
  } catch (error) {
    // Bun does not call back when the server has ended
    await Promise.race([new Promise<void>((sent) => send({ failure: messageOf(error) }, sent)), server.promise]);
  }
}

async function readUntil(signal: AbortSignal, library: string): Promise<void> {
  using nvml = openNvml(library);
  let failed = 0;
  for (let wait = 0; failed < FAILED_ANSWERS && process.connected && !signal.aborted; wait = PERIOD) {
    const answers = nvml.read(wait);
    failed = answers.devices.some(({ status }) => status !== 0) ? failed + 1 : 0;
    send(answers);
    await turn(); // for signals, and the end of the server
  }
}

function send(message: ReaderMessage, onSent?: () => void): void {
  if (!process.send) throw new ConfigError("Only the server itself runs this command");
  process.send(message, undefined, undefined, onSent);
}
