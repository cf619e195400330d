import type { EventRecorder } from "../../../kubernetes/events.ts";
import { attributesOfDevice } from "../../../pool/attributes.ts";
import { deviceName } from "../../../pool/device_name.ts";
import { type Logger, messageOf } from "../../../program/log/log.ts";
import { shorten } from "../../../program/text/quote.ts";
import type { ReadSlice } from "../claims/claim.ts";
import type { Consumer, FindConsumers } from "../claims/consumers.ts";
import type { PreparedClaim } from "../files/prepared_claim.ts";

export interface HeldEventsOptions {
  findConsumers: FindConsumers;
  readSlice: ReadSlice;
  record: EventRecorder;
  log: Logger;
  signal: AbortSignal;
}

/** Tells pods which GPUs they hold. Disposal waits for the events that are being recorded. */
export interface HeldEvents extends AsyncDisposable {
  /** Records an event for each pod that uses these claims, which were prepared just now, in the background. A failure is logged. */
  tell(claims: readonly PreparedClaim[]): void;
}

/** Longest name of a GPU's model in a message, in characters. */
const MAX_MODEL = 64;

export function createHeldEvents({ findConsumers, readSlice, record, log, signal }: HeldEventsOptions): HeldEvents {
  const running = new Set<Promise<void>>();

  async function tellAll(claims: readonly PreparedClaim[]): Promise<void> {
    const shares = new Map<string, { object: Consumer; texts: string[] }>();
    for (const claim of claims) {
      const texts = await describe(claim);
      for (const object of await findConsumers(claim, signal)) {
        const of = shares.get(object.uid) ?? { object, texts: [] };
        shares.set(object.uid, of);
        of.texts.push(...texts);
      }
    }
    for (const { object, texts } of shares.values()) {
      await record({ object, type: "Normal", reason: "HoldsGPUs", message: `Holds ${texts.join(", ")}` });
    }
  }

  /** `50 % of Tesla T4 on server-a:56001` for each share. */
  async function describe({ shares, leases }: PreparedClaim): Promise<string[]> {
    const servers = new Map(
      leases.flatMap(({ gpuIds, address }) => gpuIds.map((gpuId) => [deviceName(gpuId), address] as const)),
    );
    return Promise.all(
      shares.map(async ({ pool, device, units }) => {
        const slice = await readSlice(pool, signal);
        const found = slice?.spec.devices?.find(({ name }) => name === device);
        const { model = "" } = found ? attributesOfDevice(found) : {};
        return `${units} % of ${shorten(model || device, MAX_MODEL)} on ${servers.get(device)}`;
      }),
    );
  }

  return {
    tell(claims) {
      if (claims.length === 0) return;
      const task = tellAll(claims).catch((error) => {
        const names = claims.map(({ namespace, name }) => `${namespace}/${name}`);
        if (!signal.aborted) log.warn("Cannot tell pods of their GPUs", { claims: names, reason: messageOf(error) });
      });
      running.add(task);
      void task.finally(() => running.delete(task));
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(running);
    },
  };
}
