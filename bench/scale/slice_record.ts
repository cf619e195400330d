import { setTimeout as sleep } from "node:timers/promises";
import type { ApiReport, SliceWritten } from "./api_process.ts";
import type { LineProcess } from "./child_lines.ts";

/** The writes of slices that an API server has seen. */
export interface SliceRecord {
  /** All writes, in order. */
  readonly writes: readonly SliceWritten[];
  /** The last write of each slice. */
  readonly slices: ReadonlyMap<string, SliceWritten>;
  /** Requests of any kind, by verb and resource. */
  readonly requests: Readonly<Record<string, number>>;
  /** Reads the newest writes. */
  update(): Promise<void>;
  /** Waits for a write, and returns its time, in ms since the epoch. @throws {Error} after `timeout` ms. */
  waitFor(what: string, isMet: () => boolean, timeout?: number): Promise<number>;
  /** Waits until nothing was written for `quiet` ms. */
  settle(quiet: number): Promise<void>;
  /** Number of devices, and of those with a taint, of these servers; of all servers by default. */
  count(hostnames?: readonly string[]): { readonly devices: number; readonly tainted: number };
  /** Number of slices with a device of these servers. */
  slicesOf(hostnames: readonly string[]): number;
}

const POLL = 50;

export function createSliceRecord(api: LineProcess): SliceRecord {
  const writes: SliceWritten[] = [];
  const slices = new Map<string, SliceWritten>();
  let requests: ApiReport["requests"] = {};

  async function update(): Promise<void> {
    const report = await api.ask<ApiReport>(String(writes.length));
    requests = report.requests;
    for (const write of report.writes) {
      writes.push(write);
      slices.set(write.name, write);
    }
  }

  function count(hostnames?: readonly string[]): ReturnType<SliceRecord["count"]> {
    const names = hostnames && new Set(hostnames);
    const devices = [...slices.values()]
      .flatMap((slice) => slice.devices)
      .filter(({ hostname }) => names?.has(hostname) ?? true);
    return { devices: devices.length, tainted: devices.filter(({ isTainted }) => isTainted).length };
  }

  return {
    writes,
    slices,
    get requests() {
      return requests;
    },
    update,
    async waitFor(what, isMet, timeout = 120_000) {
      for (const deadline = performance.now() + timeout; performance.now() < deadline; await sleep(POLL)) {
        await update();
        if (isMet()) return writes.at(-1)?.at ?? Number.NaN;
      }
      const state = JSON.stringify({ slices: slices.size, writes: writes.length, ...count(), requests });
      throw new Error(`Waited ${timeout / 1000} s for ${what}: ${state}`);
    },
    async settle(quiet) {
      for (let before = -1; before !== writes.length; await update()) {
        before = writes.length;
        await sleep(quiet);
      }
    },
    count,
    slicesOf(hostnames) {
      const names = new Set(hostnames);
      return [...slices.values()].filter(({ devices }) => devices.some(({ hostname }) => names.has(hostname))).length;
    },
  };
}
