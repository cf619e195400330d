import type { Allocation } from "../../../pool/allocation/allocation.ts";
import type { CopiedClient } from "../../clients/catalogue.ts";
import type { JsonObject } from "../../pod/json_object.ts";
import { CONTAINER_VARIABLE } from "../../pod/keys.ts";

const LIBRARY_PATH = "LD_LIBRARY_PATH";
const OWN_LIBRARY_PATH = "BITFUSION_OWN_LD_LIBRARY_PATH";

/** Variables that tell the client which pod it runs in; the pool's servers log them. */
const POD_VARIABLES: readonly JsonObject[] = [
  { name: "BITFUSION_NAMESPACE", valueFrom: { fieldRef: { fieldPath: "metadata.namespace" } } },
  { name: "BITFUSION_POD", valueFrom: { fieldRef: { fieldPath: "metadata.name" } } },
];

/** The variables that a container needs for the client, apart from the library path. */
export function clientVariables(
  container: string,
  { env }: CopiedClient,
  allocation: Allocation,
): readonly JsonObject[] {
  const claims = allocation === "claims" ? [{ name: "BITFUSION_ALLOCATION", value: "claims" }] : [];
  return [{ name: CONTAINER_VARIABLE, value: container }, ...POD_VARIABLES, ...claims, ...env];
}

export function hasLibraryPath(env: readonly JsonObject[] = []): boolean {
  return env.some(({ name }) => name === LIBRARY_PATH);
}

/** Whether the LD_LIBRARY_PATH that takes effect has the client's libraries. Others may have added theirs. */
export function includesLibraryPath(env: readonly JsonObject[] = [], libraryPath: string): boolean {
  const { value } = env.findLast(({ name }) => name === LIBRARY_PATH) ?? {};
  return typeof value === "string" && value.split(":").includes(libraryPath);
}

/**
 * Puts the client's libraries in front of the container's own LD_LIBRARY_PATH. The variable keeps its position, since later ones may
 * refer to it. If it is a reference (valueFrom), the reference is kept under another name.
 */
export function withLibraryPath(env: readonly JsonObject[], libraryPath: string): JsonObject[] {
  const position = env.findLastIndex(({ name }) => name === LIBRARY_PATH);
  const own = env[position];
  if (!own) return [...env, { name: LIBRARY_PATH, value: libraryPath }];
  const replacement =
    "valueFrom" in own
      ? [
          { ...own, name: OWN_LIBRARY_PATH },
          { name: LIBRARY_PATH, value: `${libraryPath}:$(${OWN_LIBRARY_PATH})` },
        ]
      : [{ ...own, value: own.value ? `${libraryPath}:${own.value}` : libraryPath }];
  return env.toSpliced(position, 1, ...replacement);
}
