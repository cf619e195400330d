import { isDeepStrictEqual } from "node:util";
import { byTexts, foreignText } from "./text.ts";
import type { GpuView, ServerView, Units } from "./types.ts";

/** Groups GPUs by their servers. */
export function groupByServer(gpus: Iterable<GpuView>): ServerView[] {
  const servers = [...Map.groupBy(gpus, ({ server }) => server)].map(([address, own]) => toServer(address, own));
  return servers.sort(byTexts(({ address }) => address));
}

/** The units of all GPUs together. */
export function sumUnits(gpus: Iterable<Units>): Units {
  const sum = { totalUnits: 0, heldUnits: 0, freeUnits: 0, blockedUnits: 0 };
  for (const gpu of gpus) {
    sum.totalUnits += gpu.totalUnits;
    sum.heldUnits += gpu.heldUnits;
    sum.freeUnits += gpu.freeUnits;
    sum.blockedUnits += gpu.blockedUnits;
  }
  return sum;
}

function toServer(address: string, own: readonly GpuView[]): ServerView {
  const gpus = own.toSorted(
    byTexts(
      ({ id }) => sortable(id),
      ({ pool }) => pool,
      ({ device }) => device,
    ),
  );
  const [first, ...others] = gpus;
  const { id: _, model: __, memoryMb: ___, isolation: ____, ...attributes } = first?.attributes ?? {};
  return {
    address,
    name: foreignText(attributes.hostname),
    reachable: gpus.some(({ state }) => state !== "unreachable" && state !== "unpublished"),
    taints: (first?.taints ?? []).filter((taint) =>
      others.every(({ taints }) => taints.some((each) => isDeepStrictEqual(each, taint))),
    ),
    attributes,
    gpus,
    ...sumUnits(gpus),
  };
}

/** A text in which numbers sort by their value: `gpu/10` after `gpu/9`. */
function sortable(text: string): string {
  return text.replace(/\d{1,12}/g, (digits) => digits.padStart(12, "0"));
}
