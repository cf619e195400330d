const ADDRESS = /^(?<host>\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+):(?<port>\d{1,5})$/;

/** The expected form of an address, for error messages. */
export const EXPECTED_ADDRESS = "expected host:port, such as 10.202.122.248:56001";

/** Whether a text is host:port, with IPv6 hosts in brackets. */
export function isAddress(text: string): boolean {
  const port = Number(ADDRESS.exec(text)?.groups?.port);
  return port >= 1 && port <= 65535;
}

/** Splits a valid address into host and port, in the form that `node:net` accepts: IPv6 hosts without brackets. */
export function splitAddress(address: string): { host: string; port: number } {
  const colon = address.lastIndexOf(":");
  return { host: address.slice(0, colon).replace(/^\[|\]$/g, ""), port: Number(address.slice(colon + 1)) };
}
