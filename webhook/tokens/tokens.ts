import { isDeepStrictEqual } from "node:util";
import type { CoreV1Api, V1Secret } from "@kubernetes/client-node";
import type { Counter } from "prom-client";
import { withSignal } from "../../kubernetes/client.ts";
import { ignoreStatus, isStatus } from "../../kubernetes/error.ts";
import { isManagedBy, managedBy } from "../../kubernetes/objects/managed_by.ts";
import type { OwnerReference } from "../../kubernetes/objects/owner_reference.ts";
import { TOKEN_FILES } from "../../pool/token/token.ts";
import { TOKEN_SECRET } from "../../pool/token/token_source.ts";
import type { Logger } from "../../program/log/log.ts";
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

/** Why no token can be copied yet. */
export const OWNER_UNKNOWN = "Not known yet which namespace owns the copies of the token";

export interface TokenCopierOptions {
  core: CoreV1Api;
  /** The owner of the copies: Kubernetes deletes them with it. Undefined while it is not known. */
  owner: () => OwnerReference | undefined;
  log: Logger;
  copies: Counter<"operation">;
}

/**
 * Copies the Secret with the token into a namespace, and updates a copy that differs from its source, or that has another
 * owner. If the token has an identity for pods, the copy has this one only. A Secret of that name that another writer
 * created in the namespace is left alone.
 */
export function createTokenCopier({ core, owner: currentOwner, log, copies }: TokenCopierOptions): EnsureToken {
  return async (namespace, signal) => {
    const owner = currentOwner();
    if (!owner) throw new Error(OWNER_UNKNOWN);
    const source = await read(core, TOKEN_SECRET.namespace, signal);
    if (!source) {
      throw new Refusal(
        "tokens",
        `The pool's token is missing: create it with kubectl create secret generic ${TOKEN_SECRET.name} --from-file=DIR -n ${TOKEN_SECRET.namespace}`,
      );
    }
    const copy = await read(core, namespace, signal);
    const data = dataForPods(source);
    const { name } = TOKEN_SECRET;
    if (!copy) {
      const metadata = { name, namespace, labels: managedBy(PROGRAM), ownerReferences: [owner] };
      const body = { metadata, type: "Opaque", data };
      // A conflict means that another review has just created the Secret.
      await ignoreStatus(409, core.createNamespacedSecret({ namespace, body }, withSignal(signal)));
      copies.inc({ operation: "create" });
      log.info("Token copied", { namespace });
    } else if (isManagedBy(copy, PROGRAM) && !isUpToDate(copy, data, owner)) {
      // With its resourceVersion: a concurrent change causes a conflict.
      const body = { ...copy, metadata: { ...copy.metadata, ownerReferences: [owner] }, data };
      await ignoreStatus(409, core.replaceNamespacedSecret({ namespace, name, body }, withSignal(signal)));
      copies.inc({ operation: "update" });
      log.info("Token updated", { namespace });
    }
  };
}

function isUpToDate({ data, metadata }: V1Secret, expected: V1Secret["data"], owner: OwnerReference): boolean {
  const owners = metadata?.ownerReferences?.map(({ apiVersion, kind, name, uid }) => ({ apiVersion, kind, name, uid }));
  return isDeepStrictEqual(data, expected) && isDeepStrictEqual(owners, [owner]);
}

/** The data of a copy. Tokens of Bitfusion's own servers have no identity for pods: their pods use the only one. */
function dataForPods({ data = {} }: V1Secret): Record<string, string> {
  const { [TOKEN_FILES.podClient]: podClient, ...files } = data;
  return podClient === undefined ? files : { ...files, [TOKEN_FILES.client]: podClient };
}

async function read(core: CoreV1Api, namespace: string, signal: AbortSignal): Promise<V1Secret | undefined> {
  try {
    return await core.readNamespacedSecret({ namespace, name: TOKEN_SECRET.name }, withSignal(signal));
  } catch (error) {
    if (isStatus(error, 404)) return undefined;
    throw error;
  }
}
