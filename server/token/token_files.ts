import { mkdir, rename, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { stringify } from "yaml";
import { formatClientYaml, POD_UNIT, TOKEN_FILES } from "../../pool/token/token.ts";
import { ConfigError } from "../../program/config_error.ts";
import { type Authority, issueClientCertificate, issueServerCertificate } from "../../tls/authority.ts";
import { CA_LIFETIME, openAuthority } from "./authority_folder.ts";

/** Lifetime of a server's certificate that the server cannot renew itself, in ms. */
const SERVER_LIFETIME = 365 * 24 * 3600_000;

export interface TokenOptions {
  /** The folder of the pool's CA. */
  ca: string;
  /** Name of the cluster. */
  client: string;
  /** host:port of each server. */
  servers: readonly string[];
  /** ms since the epoch. */
  now: number;
}

/**
 * Writes the token of a cluster. It replaces an earlier token in the folder, whose certificates stay valid.
 *
 * @throws {ConfigError} if the CA cannot be used.
 */
export async function writeToken(folder: string, { ca, client, servers, now }: TokenOptions): Promise<void> {
  const authority = await openFor(folder, ca, now);
  const identity = async (unit?: string) => {
    const validity = { now, lifetime: lifetimeWithin(authority.authority, now, CA_LIFETIME) };
    const options = { name: client, ...(unit === undefined ? {} : { unit }), ...validity };
    return formatClientYaml(client, await issueClientCertificate(authority.authority, options));
  };
  await writeFiles(folder, {
    [TOKEN_FILES.ca]: { text: authority.ca },
    [TOKEN_FILES.client]: { text: await identity(), isSecret: true },
    [TOKEN_FILES.podClient]: { text: await identity(POD_UNIT), isSecret: true },
    [TOKEN_FILES.servers]: { text: stringify({ servers: servers.map((address) => ({ addresses: [address] })) }) },
  });
}

export interface ServerCertificateOptions {
  /** The folder of the pool's CA. */
  ca: string;
  /** The hosts in the addresses of the server. */
  hosts: readonly string[];
  /** ms since the epoch. */
  now: number;
}

/**
 * Writes a certificate for a server that does not hold the CA's key.
 *
 * @throws {ConfigError} if the CA cannot be used.
 */
export async function writeServerCertificate(
  folder: string,
  { ca, hosts, now }: ServerCertificateOptions,
): Promise<void> {
  const { authority, ca: caText } = await openFor(folder, ca, now);
  const lifetime = lifetimeWithin(authority, now, SERVER_LIFETIME);
  const { cert, key } = await issueServerCertificate(authority, { subject: "bitfusion-server", hosts, now, lifetime });
  await writeFiles(folder, {
    "ca.crt": { text: caText },
    "tls.crt": { text: cert },
    "tls.key": { text: key, isSecret: true },
  });
}

/** The lifetime of a certificate, in ms, which cannot outlive its CA. */
function lifetimeWithin({ certificate }: Authority, now: number, lifetime: number): number {
  return Math.min(lifetime, certificate.notAfter.getTime() - now);
}

async function openFor(folder: string, ca: string, now: number) {
  if (resolve(folder) === resolve(ca)) {
    throw new ConfigError(`Cannot write to the folder of the CA, ${ca}: its key must not get into the files of others`);
  }
  return openAuthority(ca, now);
}

/** Writes the files, each at once. Only the owner can read a secret. */
async function writeFiles(folder: string, files: Readonly<Record<string, { text: string; isSecret?: boolean }>>) {
  await mkdir(folder, { recursive: true });
  for (const [name, { text, isSecret }] of Object.entries(files)) {
    const path = join(folder, name);
    const unfinished = `${path}.${crypto.randomUUID().slice(0, 8)}.tmp`;
    await writeFile(unfinished, text, { mode: isSecret ? 0o600 : 0o644, flag: "wx" });
    await rename(unfinished, path);
  }
}
