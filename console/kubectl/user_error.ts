/** A mistake of the user, or something that the cluster refuses: the message says what to do. It is printed without a stack trace. */
export class UserError extends Error {
  override name = "UserError";
  /** The status with which the program ends. */
  readonly status: number;

  constructor(message: string, status = 1) {
    super(message);
    this.status = status;
  }
}

/** Ends the program with a status after it has said why. */
export class SilentExit extends Error {
  override name = "SilentExit";
  readonly status: number;

  constructor(status: number) {
    super(`Exit status ${status}`);
    this.status = status;
  }
}
