import type { ServerHttp2Session } from "node:http2";
import type { TLSSocket } from "node:tls";
import { createContextKey, type HandlerContext } from "@connectrpc/connect";

/** Who calls, by the subject of the verified certificate. */
export interface Peer {
  /** The common name. */
  readonly name: string;
  /** The organizational unit. */
  readonly unit: string;
}

/** The peer of a connection without TLS, or without a client certificate. */
export const ANONYMOUS: Peer = { name: "", unit: "" };

/** The key of the peer in the values of a call. */
export const PEER = createContextKey(ANONYMOUS, { description: "the peer" });

/** The peer of a call. */
export function peerOf({ values }: Pick<HandlerContext, "values">): Peer {
  return values.get(PEER);
}

/** Why a session must end: the client has a certificate that is not of one of the CAs. Undefined if it may go on. */
export function findRefusal({ socket }: ServerHttp2Session): string | undefined {
  const { authorized, authorizationError, getPeerCertificate } = socket as Partial<TLSSocket>;
  const hasCertificate = getPeerCertificate?.call(socket)?.raw !== undefined;
  return hasCertificate && !authorized ? String(authorizationError) : undefined;
}

/** The peer at the other end of a session. */
export function readPeer({ socket }: ServerHttp2Session): Peer {
  const { authorized, getPeerCertificate } = socket as Partial<TLSSocket>;
  if (!authorized) return ANONYMOUS;
  const { CN, OU = "" }: Record<string, unknown> = { ...getPeerCertificate?.call(socket)?.subject };
  // a subject with several of them, which we never issue, has lists
  return typeof CN === "string" && typeof OU === "string" ? { name: CN, unit: OU } : ANONYMOUS;
}
