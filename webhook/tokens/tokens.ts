import { isDeepStrictEqual } from "node:util";
import type { CoreV1Api, V1Secret } from "@kubernetes/client-node";
import type { Counter } from "prom-client";
import { ignoreStatus, isStatus } from "../../kubernetes/error.ts";
import { isManagedBy, managedBy } from "../../kubernetes/objects/managed_by.ts";
import type { Logger } from "../../program/log/log.ts";
import { TOKENS } from "../pod/keys.ts";
import { Refusal } from "../pod/refusal.ts";

/** Makes sure that a namespace has the pool's tokens. @throws {Refusal} when there are none to copy. */
export type EnsureTokens = (namespace: string) => Promise<void>;

/** For clusters in which someone else sees to the tokens, and for use without an API server. */
export const tokensAreThere: EnsureTokens = async () => {};

const PROGRAM = "bitfusion-webhook";

export interface TokenCopierOptions {
  core: CoreV1Api;
  log: Logger;
  copies: Counter<"operation">;
}

/**
 * Copies the Secret of the tokens into a namespace, and renews a copy that is no longer the same. A Secret of that name that
 * someone else made there is theirs, and stays as it is.
 */
export function createTokenCopier({ core, log, copies }: TokenCopierOptions): EnsureTokens {
  return async (namespace) => {
    const source = await read(core, TOKENS.namespace);
    if (!source) {
      throw new Refusal(
        "tokens",
        `The pool's tokens are missing: make them with kubectl create secret generic ${TOKENS.name} --from-file=DIR -n ${TOKENS.namespace}`,
      );
    }
    const copy = await read(core, namespace);
    const { name } = TOKENS;
    if (!copy) {
      const metadata = { name, namespace, labels: managedBy(PROGRAM) };
      const body = { metadata, type: "Opaque", ...dataOf(source) };
      // A conflict means that another review has just written the Secret.
      await ignoreStatus(409, core.createNamespacedSecret({ namespace, body }));
      copies.inc({ operation: "create" });
      log.info("Tokens copied", { namespace });
    } else if (isManagedBy(copy, PROGRAM) && !isDeepStrictEqual(copy.data, source.data)) {
      const body = { ...copy, ...dataOf(source) }; // with its resourceVersion: a change in between is a conflict, not lost
      await ignoreStatus(409, core.replaceNamespacedSecret({ namespace, name, body }));
      copies.inc({ operation: "update" });
      log.info("Tokens renewed", { namespace });
    }
  };
}

function dataOf({ data }: V1Secret): Pick<V1Secret, "data"> {
  return data ? { data } : {};
}

async function read(core: CoreV1Api, namespace: string): Promise<V1Secret | undefined> {
  try {
    return await core.readNamespacedSecret({ namespace, name: TOKENS.name });
  } catch (error) {
    if (isStatus(error, 404)) return undefined;
    throw error;
  }
}
