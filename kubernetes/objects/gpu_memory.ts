import * as v from "valibot";
import { ONE, parseQuantity } from "./quantity.ts";

const EXPECTED = "expected the memory of one GPU: MB, or a quantity such as 16G";

/**
 * A setting for the memory of one GPU. A bare number is in MB (1,000,000 bytes), as in Bitfusion. Any other text is a
 * Kubernetes quantity. The output is in whole MB.
 */
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
    return undefined; // the schema reports what is expected
  }
}
