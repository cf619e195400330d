import { isDeepStrictEqual } from "node:util";
import type { CoreV1Api, V1Secret } from "@kubernetes/client-node";
import type { Counter } from "prom-client";
import { withSignal } from "../../kubernetes/client.ts";
import { ignoreStatus, isStatus } from "../../kubernetes/error.ts";
import { isManagedBy, managedBy } from "../../kubernetes/objects/managed_by.ts";
import type { Logger } from "../../program/log/log.ts";
import { TOKENS } from "../pod/keys.ts";
import { Refusal } from "../pod/refusal.ts";

/**
 * Ensures that a namespace has the pool's token, unless the signal is aborted first.
 *
 * @throws {Refusal} if there is no token to copy.
 * @throws {KubernetesError}
 */
export type EnsureToken = (namespace: string, signal: AbortSignal) => Promise<void>;

/** Does nothing. For clusters in which another program provides the token, and for use without an API server. */
export const assumeTokenExists: EnsureToken = async () => {};

const PROGRAM = "bitfusion-webhook";

export interface TokenCopierOptions {
  core: CoreV1Api;
  log: Logger;
  copies: Counter<"operation">;
}

/**
 * Copies the Secret with the token into a namespace, and updates a copy that differs from its source. A Secret of that
 * name that another writer created in the namespace is left alone.
 */
export function createTokenCopier({ core, log, copies }: TokenCopierOptions): EnsureToken {
  return async (namespace, signal) => {
    const source = await read(core, TOKENS.namespace, signal);
    if (!source) {
      throw new Refusal(
        "tokens",
        `The pool's token is missing: create it with kubectl create secret generic ${TOKENS.name} --from-file=DIR -n ${TOKENS.namespace}`,
      );
    }
    const copy = await read(core, namespace, signal);
    const { name } = TOKENS;
    if (!copy) {
      const metadata = { name, namespace, labels: managedBy(PROGRAM) };
      const body = { metadata, type: "Opaque", ...dataOf(source) };
      // A conflict means that another review has just created the Secret.
      await ignoreStatus(409, core.createNamespacedSecret({ namespace, body }, withSignal(signal)));
      copies.inc({ operation: "create" });
      log.info("Token copied", { namespace });
    } else if (isManagedBy(copy, PROGRAM) && !isDeepStrictEqual(copy.data, source.data)) {
      const body = { ...copy, ...dataOf(source) }; // with its resourceVersion: a concurrent change causes a conflict
      await ignoreStatus(409, core.replaceNamespacedSecret({ namespace, name, body }, withSignal(signal)));
      copies.inc({ operation: "update" });
      log.info("Token updated", { namespace });
    }
  };
}

function dataOf({ data }: V1Secret): Pick<V1Secret, "data"> {
  return data ? { data } : {};
}

async function read(core: CoreV1Api, namespace: string, signal: AbortSignal): Promise<V1Secret | undefined> {
  try {
    return await core.readNamespacedSecret({ namespace, name: TOKENS.name }, withSignal(signal));
  } catch (error) {
    if (isStatus(error, 404)) return undefined;
    throw error;
  }
}
