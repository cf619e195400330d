import * as v from "valibot";
import type { DeviceAttributes } from "../attributes.ts";
import { createMatcher, type Filter } from "../filter.ts";
import type { DataPlane } from "../inventory.ts";

export const DataPlaneName = v.pipe(
  v.string("expected a name"),
  v.regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/, "expected at most 63 lower-case letters, digits and dashes"),
);

export const DataPlaneBuild = v.pipe(
  v.string("expected text, in quotes where it is a number"),
  v.regex(/^[\w.+-]{1,64}$/, "expected 1 to 64 letters, digits and . _ + -"),
);

const KEYS = { name: "server.data-plane", build: "server.data-plane-build" } as const;

/** The filters that select the GPUs of servers with this data plane. */
export function dataPlaneFilters({ name, build }: DataPlane): Filter[] {
  return [
    { key: KEYS.name, value: name },
    { key: KEYS.build, value: build },
  ];
}

/** The most data planes that a message lists. */
const MAX_LISTED = 4;

/**
 * If no GPU has the data plane that filters select, says so, and which data planes the GPUs have: `no server has this data plane: they have
 * lupine of build 1 and none`. Undefined if one has it, if the filters select none, and if there are no GPUs.
 */
export function describeMissingDataPlane(
  filters: readonly Filter[],
  gpus: readonly DeviceAttributes[],
): string | undefined {
  const selecting = filters.filter(({ key }) => key === KEYS.name || key === KEYS.build);
  if (selecting.length === 0 || gpus.length === 0 || gpus.some(createMatcher(selecting))) return undefined;
  const known = [...new Set(gpus.map(describeDataPlane))].sort();
  const listed = known.slice(0, MAX_LISTED);
  if (known.length > MAX_LISTED) listed.push(`${known.length - MAX_LISTED} others`);
  return `no server has this data plane: they have ${new Intl.ListFormat("en-GB").format(listed)}`;
}

function describeDataPlane({ dataPlane, dataPlaneBuild }: DeviceAttributes): string {
  return dataPlane === undefined ? "none" : `${dataPlane} of build ${dataPlaneBuild}`;
}
