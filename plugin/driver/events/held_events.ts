import type { EventRecorder } from "../../../kubernetes/events.ts";
import { type Logger, messageOf } from "../../../program/log/log.ts";
import { shorten } from "../../../program/text/quote.ts";
import type { Consumer } from "../claims/consumers.ts";
import type { Prepared } from "../prepare.ts";

export interface HeldEventsOptions {
  record: EventRecorder;
  log: Logger;
  signal: AbortSignal;
}

/** Tells pods which GPUs they hold. Disposal waits for the events that are being recorded. */
export interface HeldEvents extends AsyncDisposable {
  /** Records an event for each pod that uses these claims, which were prepared just now, in the background. A failure is logged. */
  tell(claims: readonly Prepared[]): void;
}

/** Longest name of a GPU's model in a message, in characters. */
const MAX_MODEL = 64;

export function createHeldEvents({ record, log, signal }: HeldEventsOptions): HeldEvents {
  const running = new Set<Promise<void>>();

  async function tellAll(claims: readonly Prepared[]): Promise<void> {
    for (const { object, texts } of sharesOfPods(claims)) {
      signal.throwIfAborted();
      await record({ object, type: "Normal", reason: "HoldsGPUs", message: `Holds ${texts.join(", ")}` });
    }
  }

  return {
    tell(claims) {
      const task = tellAll(claims).catch((error) => {
        const names = claims.map(({ claim: { namespace, name } }) => `${namespace}/${name}`);
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

/** What each pod holds: `50 % of Tesla T4 on server-a:56001` for each share of its claims. */
function sharesOfPods(claims: readonly Prepared[]) {
  const byPod = new Map<string, { object: Consumer; texts: string[] }>();
  for (const { claim, granted } of claims) {
    const texts = claim.shares.map(({ device, units }) => {
      const { model = "", address } = granted?.locations.get(device) ?? {};
      return `${units} % of ${shorten(model || device, MAX_MODEL)} on ${address}`;
    });
    for (const object of granted?.pods ?? []) {
      const held = byPod.get(object.uid) ?? { object, texts: [] };
      byPod.set(object.uid, held);
      held.texts.push(...texts);
    }
  }
  return byPod.values();
}
