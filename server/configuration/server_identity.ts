import { isDeepStrictEqual } from "node:util";
import { issueServerCertificate, parseAuthority } from "../../tls/authority.ts";
import { isUsable, type TlsIdentity } from "../../tls/key_pair.ts";
import type { TlsMaterial } from "./configuration_source.ts";

/** Lifetime of the certificates that a server makes for itself, in ms. They are renewed after two thirds of it. */
const LIFETIME = 90 * 24 * 3600_000;

export interface ServerIdentityOptions {
  /** The server's own name. */
  name: string;
  /** ms since the epoch. */
  now: () => number;
}

/**
 * Creates a function that returns the server's identity: the same as before, unless the material has changed or the
 * certificate that the server made needs renewal.
 */
export function createServerIdentity({ name, now }: ServerIdentityOptions): (tls: TlsMaterial) => Promise<TlsIdentity> {
  let last: { readonly tls: TlsMaterial; readonly identity: TlsIdentity } | undefined;

  async function create(tls: TlsMaterial): Promise<TlsIdentity> {
    if ("pair" in tls) return { ...tls.pair, ca: tls.ca };
    const authority = await parseAuthority({ cert: tls.ca, key: tls.caKey });
    const lifetime = Math.min(LIFETIME, authority.certificate.notAfter.getTime() - now());
    const options = { subject: "bitfusion-server", hosts: hostsOf(tls), now: now(), lifetime };
    return { ...(await issueServerCertificate(authority, options)), ca: tls.ca };
  }
  function hostsOf(tls: TlsMaterial): readonly string[] {
    return ("hosts" in tls && tls.hosts) || [name];
  }

  return async (tls) => {
    const isCurrent =
      last !== undefined &&
      isDeepStrictEqual(last.tls, tls) &&
      ("pair" in tls || isUsable(last.identity, hostsOf(tls), now()));
    if (!isCurrent) last = { tls, identity: await create(tls) };
    return (last as { identity: TlsIdentity }).identity;
  };
}
