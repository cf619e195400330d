import { createHash, timingSafeEqual } from "node:crypto";

/** Compares two secrets, in a time that does not depend on how much of them is equal. */
export function isEqual(a: string, b: string): boolean {
  const [digestA, digestB] = [a, b].map((text) => createHash("sha256").update(text).digest()) as [Buffer, Buffer];
  return timingSafeEqual(digestA, digestB);
}
