import type { Allocation } from "../../pool/allocation/allocation.ts";
import { USE_UNITS } from "../../pool/allocation/claim_support.ts";
import { quote } from "../../program/text/quote.ts";
import { memoize } from "../fast/memoize.ts";
import { ANNOTATIONS } from "../pod/keys.ts";
import type { Mode } from "../pod/mode.ts";
import type { Container } from "../pod/pod.ts";
import { Refusal } from "../pod/refusal.ts";
import { type Catalogue, type ClientDefinition, type CopiedClient, isSidecarClient } from "./catalogue.ts";

/** What decides about the client of a pod. */
export interface ClientChoice {
  /** Annotations of the pod. */
  readonly annotations: Readonly<Record<string, string>>;
  readonly mode: Mode;
  readonly allocation: Allocation;
  /** The GPU containers of the pod. */
  readonly containers: readonly Container[];
}

/**
 * The client that a pod's annotations choose, or the default, as it is attached with this allocation. If it wraps commands, and a GPU
 * container has none, it is the first client that the annotations choose among those that are attached by sidecar.
 *
 * @throws {Refusal} lists the known clients, or says that the client does not work with the allocation.
 */
export function chooseClient(catalogue: Catalogue, choice: ClientChoice): ClientDefinition {
  const client = findClient(catalogue, choice);
  if (choice.allocation === "units") {
    if (!isSidecarClient(client)) return client;
    throw new Refusal(
      "client",
      `The client ${client.name} is attached by sidecar, which needs claims, but this cluster counts units: choose another client`,
    );
  }
  if (isSidecarClient(client) || !client.tokens) return client;
  if (client.leases) return withoutToken(client);
  throw new Refusal(
    "client",
    `The client ${client.name} takes its own leases, but with claims the driver takes them: choose another client, or ${USE_UNITS}`,
  );
}

/** A client without the pool's token, and without the volume that has the token's files. */
const withoutToken = memoize(
  (client: CopiedClient): CopiedClient => ({
    ...client,
    tokens: false,
    mounts: client.mounts.filter(({ volume }) => volume !== "config"),
  }),
);

function findClient(catalogue: Catalogue, { annotations, mode, allocation, containers }: ClientChoice) {
  const os = annotations[ANNOTATIONS.os];
  const version = annotations[ANNOTATIONS.version];
  const matching = catalogue.clients.filter(
    (client) => (os === undefined || client.os === os) && (version === undefined || client.version === version),
  );
  const chosen = matching.find(({ name }) => name === catalogue.default) ?? matching[0];
  if (!chosen) throw unknownClient(catalogue, annotations);
  const wrapsCommands = mode === "full" && !isSidecarClient(chosen) && chosen.binary !== undefined;
  const cannotWrap = wrapsCommands && containers.some(({ command = [] }) => command.length === 0);
  return (cannotWrap && allocation === "claims" && matching.find(isSidecarClient)) || chosen;
}

function unknownClient(catalogue: Catalogue, annotations: ClientChoice["annotations"]): Refusal {
  const requested = ([ANNOTATIONS.os, ANNOTATIONS.version] as const)
    .filter((key) => annotations[key] !== undefined)
    .map((key) => `${key} ${quote(annotations[key] ?? "")}`)
    .join(" and ");
  const known = catalogue.clients.map((client) => `${client.os} ${client.version}`).join(", ");
  return new Refusal("client", `No client has ${requested}: expected one of ${known}`);
}
