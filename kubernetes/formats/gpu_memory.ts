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
    v.check(isMemory, EXPECTED), // before the transformation, so that an issue has the value as it was written
    v.transform(toMegabytes),
  );
}

function isMemory(text: string): boolean {
  const memoryMb = toMegabytes(text);
  return Number.isSafeInteger(memoryMb) && memoryMb >= 1;
}

/** NaN if the text is no quantity. */
function toMegabytes(text: string): number {
  if (/^\d+$/.test(text)) return Number(text);
  try {
    return Number(parseQuantity(text) / (1_000_000n * ONE));
  } catch {
    return Number.NaN;
  }
}
