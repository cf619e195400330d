import { isDeepStrictEqual } from "node:util";
import { createBackoff } from "../../../program/backoff.ts";
import { ConfigError } from "../../../program/config_error.ts";
import type { Logger } from "../../../program/log/log.ts";
import type { ServerGpu } from "../gpu.ts";
import type { GpuProcesses, GpuSource } from "../gpu_source.ts";
import type { NvmlAnswers } from "./answers.ts";
import { type NvidiaGpu, nextGpus, unansweredGpus } from "./health.ts";
import { gpuProcesses } from "./processes_of_gpus.ts";
import type { ReaderMessage } from "./reader.ts";

export interface NvidiaSourceOptions {
  /** The command that runs {@link sendAnswers}. */
  reader: readonly string[];
  /** How long NVML may take for its answers, in ms. */
  silence?: number;
  log: Logger;
}

interface ReaderOptions extends Pick<Required<NvidiaSourceOptions>, "reader" | "silence"> {
  onAnswers: (answers: NvmlAnswers) => void;
}

/** In ms. NVML itself takes some seconds for GPUs that are not initialized. */
const SILENCE = 15_000;

/**
 * Opens the NVIDIA GPUs of the machine.
 *
 * @throws {ConfigError} if NVML cannot be used, or there is no GPU.
 */
export async function openNvidiaGpus({ reader, silence = SILENCE, log }: NvidiaSourceOptions): Promise<GpuSource> {
  const ended = new AbortController();
  const opened = Promise.withResolvers<NvmlAnswers>();
  let gpus: readonly NvidiaGpu[] | undefined;
  let listener: (gpus: readonly ServerGpu[]) => void = () => {};
  let processListener: (gpus: readonly GpuProcesses[]) => void = () => {};

  function set(next: readonly NvidiaGpu[]): void {
    const before = gpus ?? [];
    gpus = next;
    if (isDeepStrictEqual(next, before)) return;
    logChanges(before, next, log);
    listener(next);
  }
  async function run(): Promise<void> {
    const backoff = createBackoff({ initial: 1000, max: 30_000 });
    const onAnswers = (answers: NvmlAnswers) => {
      backoff.reset();
      set(nextGpus(gpus ?? [], answers, performance.now()));
      processListener(gpuProcesses(answers.devices));
      opened.resolve(answers);
    };
    while (!ended.signal.aborted) {
      const failure = await runReader({ reader, silence, onAnswers }, ended.signal);
      if (ended.signal.aborted) return;
      if (!gpus) return opened.reject(new ConfigError(failure ?? "NVML has not answered"));
      if (failure !== undefined) {
        log.error("Cannot read the GPUs", { reason: failure });
        set(unansweredGpus(gpus));
        processListener([]);
      }
      await backoff.wait(ended.signal).catch(() => {}); // rejects only when aborted
    }
  }
  const running = run();
  const { cudaVersion, driverVersion } = await opened.promise;
  return {
    facts: { cudaVersion, driverVersion },
    get gpus() {
      return gpus ?? [];
    },
    onChange(next) {
      listener = next;
      listener(gpus ?? []);
    },
    onProcesses(next) {
      processListener = next;
    },
    async [Symbol.asyncDispose]() {
      ended.abort();
      await running;
    },
  };
}

/**
 * Runs the reader until it ends, is silent for `silence` ms, or the signal is aborted. Returns why it failed; undefined if it ended by itself
 * to be run afresh.
 */
async function runReader(
  { reader, silence, onAnswers }: ReaderOptions,
  signal: AbortSignal,
): Promise<string | undefined> {
  const over = Promise.withResolvers<string | undefined>();
  const abort = () => over.resolve(undefined);
  const timer = setTimeout(() => over.resolve(`NVML has not answered for ${silence / 1000} s`), silence);
  let isOver = false;
  const child = Bun.spawn([...reader], {
    stdio: ["ignore", "inherit", "inherit"],
    ipc(message: ReaderMessage) {
      if (isOver) return;
      timer.refresh();
      if ("failure" in message) over.resolve(message.failure);
      else onAnswers(message);
    },
    onExit: (_, status, by) =>
      over.resolve(status === 0 ? undefined : `The reader of NVML ended: ${by ?? `status ${status}`}`),
  });
  signal.addEventListener("abort", abort, { once: true });
  try {
    return await over.promise;
  } finally {
    isOver = true;
    signal.removeEventListener("abort", abort);
    clearTimeout(timer);
    child.kill("SIGKILL"); // one that hangs in the driver may not end before the driver goes on: nobody waits for it
  }
}

function logChanges(before: readonly NvidiaGpu[], after: readonly NvidiaGpu[], log: Logger): void {
  const known = new Map(before.map((gpu) => [gpu.id, gpu]));
  for (const { id, model, number, problem } of after) {
    const was = known.get(id);
    known.delete(id);
    if (!was) log.info("GPU found", { gpu: id, model, number });
    if (problem !== was?.problem) {
      if (problem === undefined) log.info("GPU healthy again", { gpu: id, number });
      else log.warn("GPU unhealthy", { gpu: id, number, problem });
    }
  }
  for (const { id, number } of known.values()) log.info("GPU removed", { gpu: id, number });
}
