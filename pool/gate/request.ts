/** The port in the target of a request to a gate. A target must have one, and a lease has no others. */
export const LEASE_PORT = 1;

/** The request to be connected to the process of a lease: CONNECT of RFC 9110, section 9.3.6. */
export function formatConnect(leaseId: string, secret: string): string {
  const target = `${leaseId}:${LEASE_PORT}`;
  return `CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\nProxy-Authorization: Bearer ${secret}\r\n\r\n`;
}
