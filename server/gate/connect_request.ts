import { LEASE_PORT } from "../../pool/gate/request.ts";

/** A request to be connected to a lease: `CONNECT <lease id>:1`, with the lease's secret as a bearer token. */
export interface ConnectRequest {
  readonly leaseId: string;
  readonly secret: string;
}

/** An answer that ends a connection. */
export interface Refusal {
  readonly status: keyof typeof REASONS;
  /** One sentence for the user of the client. */
  readonly message: string;
}

const REASONS = {
  400: "Bad Request",
  405: "Method Not Allowed",
  407: "Proxy Authentication Required",
  408: "Request Timeout",
  429: "Too Many Requests",
  431: "Request Header Fields Too Large",
  503: "Service Unavailable",
  505: "HTTP Version Not Supported",
} as const;

/** Header fields that some answers must have (RFC 9110). */
const FIELDS: Partial<Record<Refusal["status"], string>> = {
  405: "Allow: CONNECT\r\n",
  407: "Proxy-Authenticate: Bearer\r\n",
};

export const CONNECTED = "HTTP/1.1 200 Connected\r\n\r\n";

const REQUEST_LINE = /^([!#$%&'*+.^_`|~\w-]+) (\S+) HTTP\/(\d\.\d)$/;
const FIELD = /^([!#$%&'*+.^_`|~\w-]+):[ \t]*([\x20-\x7e\x80-\xff\t]*?)[ \t]*$/;
const CREDENTIALS = /^bearer +([A-Za-z0-9._~+/-]+=*)$/i;

/**
 * Parses the head of a request by RFC 9112 and RFC 9110, section 9.3.6.
 *
 * @param head up to and without the empty line, each byte one character
 */
export function parseConnect(head: string): ConnectRequest | Refusal {
  const [requestLine = "", ...fields] = head.split("\r\n");
  const [, method, target = "", version] = REQUEST_LINE.exec(requestLine) ?? [];
  if (version === undefined) return { status: 400, message: "This is not a request of HTTP/1.1" };
  if (version !== "1.1") return { status: 505, message: "Expected HTTP/1.1" };
  if (method !== "CONNECT") return { status: 405, message: "Expected the method CONNECT" };
  const leaseId = new RegExp(`^([\\w-]{1,64}):${LEASE_PORT}$`).exec(target)?.[1];
  if (leaseId === undefined) return { status: 400, message: `Expected the target <lease id>:${LEASE_PORT}` };
  const values = new Map<string, string>();
  for (const field of fields) {
    const [, name = "", value = ""] = FIELD.exec(field) ?? [];
    if (name === "") return { status: 400, message: "A header field is malformed" };
    const key = name.toLowerCase();
    if (values.has(key) && SINGLE.includes(key)) return { status: 400, message: `Expected one field ${name}` };
    values.set(key, value);
  }
  if (!values.has("host")) return { status: 400, message: "Expected a field Host" };
  const secret = CREDENTIALS.exec(values.get("proxy-authorization") ?? "")?.[1];
  if (secret === undefined) return { status: 407, message: "Expected the secret of the lease as a bearer token" };
  return { leaseId, secret };
}

const SINGLE = ["host", "proxy-authorization"];

/** The answer in bytes, with the message as its content. */
export function formatRefusal({ status, message }: Refusal): string {
  const content = `${message}\n`;
  return (
    `HTTP/1.1 ${status} ${REASONS[status]}\r\n${FIELDS[status] ?? ""}Content-Type: text/plain; charset=utf-8\r\n` +
    `Content-Length: ${Buffer.byteLength(content)}\r\nConnection: close\r\n\r\n${content}`
  );
}
