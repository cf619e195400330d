/** Bytes that are sent in one measurement of the throughput. */
export const TRANSFER = 128 * 1024 * 1024;

/** The lease of the benchmark. */
export const LEASE = { id: "lease", secret: "secret" };
