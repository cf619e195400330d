/** Thrown when a signal ends the wait for the pool. */
export class InterruptedError extends Error {
  override name = "InterruptedError";
  readonly signal: NodeJS.Signals;

  constructor(signal: NodeJS.Signals) {
    super(`Gave up waiting for the pool: ${signal}`);
    this.signal = signal;
  }
}
