/** The memory of a GPU that a lease uses at one time. */
export interface MemoryReading {
  readonly leaseId: string;
  readonly gpuId: string;
  /** In MB. */
  readonly usedMb: number;
  /** The most that it may use, in MB. */
  readonly allowedMb: number;
}

/** A lease that has used more memory of a GPU than it may in each reading for a while. */
export interface Overuse extends MemoryReading {
  /** Time of the first of these readings, in ms. */
  readonly since: number;
  /** Number of these readings. */
  readonly readings: number;
}

/** How long a lease may use too much, in ms. A program that frees memory in time goes on. */
const LIMIT = 10_000;

/** Fewer readings than this prove nothing, whatever time is between them: the driver may hang, or report many errors at once. */
const MIN_READINGS = 5;

/**
 * The overuse after a reading of all GPUs. One reading in which a lease does not use too much, or in which its GPU does not answer, ends its
 * overuse.
 *
 * @param now in ms
 */
export function nextOveruse(before: readonly Overuse[], readings: readonly MemoryReading[], now: number): Overuse[] {
  return readings
    .filter(({ usedMb, allowedMb }) => usedMb > allowedMb)
    .map((reading) => {
      const known = before.find(({ leaseId, gpuId }) => leaseId === reading.leaseId && gpuId === reading.gpuId);
      return { ...reading, since: known?.since ?? now, readings: (known?.readings ?? 0) + 1 };
    });
}

/** Whether the process of the lease must end. */
export function isLasting({ since, readings }: Overuse, now: number): boolean {
  return now - since >= LIMIT && readings >= MIN_READINGS;
}
