import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { ConfigError } from "../../program/config_error.ts";
import { ignoreMissing } from "../../program/ignore_missing.ts";
import { messageOf } from "../../program/log/log.ts";
import { type Authority, createAuthority, formatAuthority, parseAuthority } from "../../tls/authority.ts";

/** Lifetime of a CA and of the clients' certificates, in ms. A client is ended by the servers' configuration. */
export const CA_LIFETIME = 3650 * 24 * 3600_000;

/** The CA of a pool, with its certificate (and those of earlier CAs after it) in PEM. */
export interface AuthorityFolder {
  readonly authority: Authority;
  readonly ca: string;
}

/**
 * Opens the folder of a pool's CA. Creates both if the folder has neither certificate nor key.
 *
 * @throws {ConfigError} names the file and what is wrong.
 */
export async function openAuthority(folder: string, now: number): Promise<AuthorityFolder> {
  const [certPath, keyPath] = [join(folder, "ca.crt"), join(folder, "ca.key")];
  const [cert, key] = await Promise.all([readOptional(certPath), readOptional(keyPath)]);
  if (cert === undefined && key === undefined) return create(folder, { certPath, keyPath, now });
  if (cert === undefined || key === undefined) {
    const [found, missing] = cert === undefined ? [keyPath, certPath] : [certPath, keyPath];
    throw new ConfigError(`Cannot use ${found} without ${missing}: expected both or none`);
  }
  const authority = await parseAuthority({ cert, key }).catch((error) => {
    throw new ConfigError(`Cannot use ${certPath} and ${keyPath}: ${messageOf(error)}`);
  });
  if (authority.certificate.notAfter.getTime() <= now) throw new ConfigError(`Cannot use ${certPath}: it has expired`);
  return { authority, ca: cert };
}

async function create(
  folder: string,
  { certPath, keyPath, now }: { certPath: string; keyPath: string; now: number },
): Promise<AuthorityFolder> {
  const authority = await createAuthority("bitfusion-pool-ca", { now, lifetime: CA_LIFETIME });
  const { cert, key } = await formatAuthority(authority);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await writeFile(keyPath, key, { mode: 0o600, flag: "wx" });
  await writeFile(certPath, cert, { flag: "wx" });
  return { authority, ca: cert };
}

async function readOptional(path: string): Promise<string | undefined> {
  return ignoreMissing(readFile(path, "utf8")).catch((error: Error) => {
    throw new ConfigError(`Cannot read ${path}: ${error.message}`);
  });
}
