import * as v from "valibot";

const ADDRESS = /^(?<host>\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+):(?<port>\d{1,5})$/;

/** What a server's address must look like, for messages. */
export const EXPECTED_ADDRESS = "expected host:port, such as 10.202.122.248:56001";

/** The same for a setting with all servers of a pool. */
export const EXPECTED_SERVERS = `${EXPECTED_ADDRESS}, several separated by commas`;

/** Whether `text` is host:port, IPv6 hosts in brackets. */
export function isAddress(text: string): boolean {
  const port = Number(ADDRESS.exec(text)?.groups?.port);
  return port >= 1 && port <= 65535;
}

/** Host and port as `node:net` takes them. The address must be one that {@link isAddress} accepts. */
export function splitAddress(address: string): { host: string; port: number } {
  const colon = address.lastIndexOf(":");
  return { host: address.slice(0, colon).replace(/^\[|\]$/g, ""), port: Number(address.slice(colon + 1)) };
}

/** The servers of a pool as a setting says them: addresses separated by commas. The output has none twice. */
export function poolServers() {
  return v.pipe(
    v.string(),
    v.transform((text) => [...new Set(text.split(",").map((address) => address.trim()))]),
    v.check((addresses) => addresses.every(isAddress), EXPECTED_SERVERS),
  );
}
