import * as v from "valibot";
import { ONE, parseQuantity } from "./quantity.ts";

const EXPECTED = "expected the memory of one GPU: MB, or a quantity such as 16G";

/** The memory of one GPU as a setting says it: a bare number is MB, as in the original, anything else a quantity. The output is in MB. */
export function gpuMemory() {
  return v.pipe(
    v.string(EXPECTED),
    v.transform(toMegabytes),
    v.number(EXPECTED),
    v.minValue(1, EXPECTED),
    v.safeInteger(EXPECTED),
  );
}

function toMegabytes(text: string): number | undefined {
  if (/^\d+$/.test(text)) return Number(text);
  try {
    return Number(parseQuantity(text) / (1_000_000n * ONE));
  } catch {
    return undefined; // the schema says what is expected
  }
}
