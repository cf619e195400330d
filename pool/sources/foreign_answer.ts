import { Code, ConnectError } from "@connectrpc/connect";

/**
 * Whether a watch failed because the server answered in another protocol than `bitfusion.pool.v1`: not in HTTP/2, not in
 * gRPC, or without this service. Neither silence nor a closed connection is an answer, and neither is a proxy's 502, 503
 * or 504.
 */
export function isForeignAnswer(error: unknown): boolean {
  if (!(error instanceof ConnectError) || error.code === Code.Unavailable) return false;
  return (
    error.code === Code.Unimplemented ||
    (error.cause as NodeJS.ErrnoException | undefined)?.code === "ERR_HTTP2_ERROR" ||
    /^(HTTP \d|unsupported content type)/.test(error.rawMessage)
  );
}

/** Whether a watch failed because the server closed the connection without an answer. */
export function isClosed(error: unknown): boolean {
  return error instanceof ConnectError && error.code === Code.Canceled;
}
