import { setTimeout as sleep } from "node:timers/promises";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { connectTls } from "../../grpc/client.ts";
import type { GpuShare } from "../../pool/lease.ts";
import type { Environment } from "../../program/environment.ts";
import { messageOf } from "../../program/log/log.ts";
import { clampTimeout } from "../../program/timers.ts";
import { PoolService } from "../../proto/gen/bitfusion/pool/v1/pool_pb.ts";
import type { WaitOptions } from "../claim_share.ts";
import type { Holding } from "../holding.ts";
import { LeaseLostError, scheduleOf } from "../renew.ts";
import { readTimeToLive } from "../server_lease.ts";
import { createChangePrinter } from "./change_printer.ts";
import { findSlots, type LeaseSlot, readProof } from "./lease_slots.ts";
import { openLocalPort } from "./local_port.ts";

/** What a server said of a lease last. */
interface LeaseState {
  readonly gpus: readonly GpuShare[];
  /** The performance.now() at which it said so. */
  readonly sentAt: number;
  /** In ms. */
  readonly timeToLive: number;
}

/** Longest silence of a server, in ms: it says at least once a second how a lease is. */
const MAX_SILENCE = 5000;

/** Time between two attempts to attach, in ms. */
const RETRY_AFTER = 500;

/**
 * Attaches to the leases that the driver holds for this container. The driver renews and releases them: the client is told the GPUs, and
 * learns when a lease ends. Where servers forward calls, a port for each lease leads to them.
 *
 * @throws {ConfigError} if the driver has given the container no leases.
 * @throws {Error} when the servers do not know the leases in time.
 */
export async function attachLeases(environment: Environment, options: WaitOptions): Promise<Holding> {
  const slots = await findSlots(environment);
  const ended = new AbortController();
  const attached = slots.map((slot) => followLease(slot, options, ended.signal));
  try {
    const states = await Promise.all(attached.map(({ first }) => first));
    const ports = await openPorts(slots, options);
    return {
      gpus: states.flatMap(({ gpus }) => gpus),
      gateAddresses: ports.addresses,
      async keep(signal) {
        const end = () => ended.abort();
        signal.addEventListener("abort", end, { once: true });
        await Promise.all(attached.map(({ lost }) => lost));
      },
      async release() {
        ended.abort();
        ports[Symbol.dispose]();
        await Promise.allSettled(attached.map(({ lost }) => lost));
        return [];
      },
    };
  } catch (error) {
    ended.abort();
    throw error;
  }
}

/** Opens a port for each lease, which leads to its data-plane process, unless a server forwards no calls. */
async function openPorts(slots: readonly LeaseSlot[], { print }: WaitOptions) {
  using stack = new DisposableStack();
  const proofs = await Promise.all(slots.map(readProof));
  const isForwarded = proofs.every(({ gatePort }) => gatePort !== undefined);
  const addresses: string[] = [];
  for (const slot of isForwarded ? slots : []) {
    const options = { port: 0, setting: "port", findLease: () => readProof(slot), print: createChangePrinter(print) };
    addresses.push(`127.0.0.1:${stack.use(await openLocalPort(options)).port}`);
  }
  const owned = stack.move();
  return { addresses, [Symbol.dispose]: () => owned.dispose() };
}

/**
 * Stays attached to a lease. `first` is what the server says first. `lost` ends with the signal, or with a {@link LeaseLostError}.
 */
function followLease(slot: LeaseSlot, { timeout, print, signal }: WaitOptions, ended: AbortSignal) {
  const first = Promise.withResolvers<LeaseState>();
  const deadline = performance.now() + timeout;
  const untilEnded = AbortSignal.any([signal, ended]);
  let printed: string | undefined;

  async function follow(): Promise<void> {
    let state: LeaseState | undefined;
    while (!ended.aborted) {
      if (!state) signal.throwIfAborted();
      // Once the command runs, the signal is for the command: the lease stays attached until the command ends.
      const stop = state ? ended : untilEnded;
      let attached = false;
      let failure: unknown;
      try {
        for await (const next of readStates(slot, state, stop)) {
          state = next;
          attached = true;
          first.resolve(next);
        }
      } catch (error) {
        failure = error;
      }
      if (ended.aborted) return;
      const reason = messageOf(failure);
      const now = performance.now();
      if (state) {
        const { lostAt, endBy, grace } = scheduleOf(state);
        // A server that restarted does not know the lease until the driver has told it.
        const hasEnded = attached && ConnectError.from(failure).code === Code.NotFound;
        if (hasEnded || now + RETRY_AFTER >= lostAt) {
          throw new LeaseLostError(`A lease is lost: ${reason}`, Math.min(now + grace, endBy));
        }
      } else {
        signal.throwIfAborted();
        if (now >= deadline) throw new Error(`Waited ${timeout / 1000} s for the pool: ${reason}`);
        if (reason !== printed) print(`Waiting for the pool: ${reason}`);
        printed = reason;
      }
      const pause = state ? RETRY_AFTER : Math.min(RETRY_AFTER, deadline - now);
      await sleep(clampTimeout(pause), undefined, { signal: stop }).catch(() => {}); // rejects only when aborted
    }
  }

  const lost = follow();
  lost.catch((error) => first.reject(error));
  first.promise.catch(() => {}); // awaited by the caller
  return { first: first.promise, lost };
}

/**
 * What the server says of a lease, while it says it.
 *
 * @param last what it said before: what it says next must come before this lease is lost.
 * @throws {Error} names the server, and why it says no more.
 */
async function* readStates(
  slot: LeaseSlot,
  last: LeaseState | undefined,
  signal: AbortSignal,
): AsyncGenerator<LeaseState> {
  const { address, leaseId, secret, ca } = await readProof(slot);
  using channel = connectTls(address, { ca });
  const silent = new AbortController();
  const limit = (state: LeaseState | undefined) =>
    setTimeout(
      () => silent.abort(),
      clampTimeout(Math.min(MAX_SILENCE, state ? scheduleOf(state).lostAt - performance.now() : MAX_SILENCE)),
    );
  let timer = limit(last);
  try {
    const call = { signal: AbortSignal.any([signal, silent.signal]) };
    for await (const { gpus, timeToLive } of createClient(PoolService, channel.transport).attachLease(
      { leaseId, secret },
      call,
    )) {
      if (!timeToLive) throw new Error("The response has no time_to_live");
      const state = { gpus, sentAt: performance.now(), timeToLive: readTimeToLive(timeToLive) };
      clearTimeout(timer);
      timer = limit(state);
      yield state;
    }
    throw new Error("The server ended the call");
  } catch (error) {
    if (silent.signal.aborted) throw new Error(`${address}: no answer`);
    const { code, rawMessage } = ConnectError.from(error);
    throw new ConnectError(`${address}: ${rawMessage}`, code);
  } finally {
    clearTimeout(timer);
  }
}
