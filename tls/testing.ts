import { createAuthority, formatAuthority, issueClientCertificate, issueServerCertificate } from "./authority.ts";
import type { TlsIdentity } from "./key_pair.ts";

const VALIDITY = { now: Date.now(), lifetime: 24 * 3600_000 };

const authority = await createAuthority("test-ca", VALIDITY);

/** The CA of all identities of a test process: its certificate and key, in PEM. */
export const TEST_CA = await formatAuthority(authority);

/** The identity of servers on this machine. */
export const TEST_SERVER: TlsIdentity = {
  ...(await issueServerCertificate(authority, { subject: "server", hosts: ["127.0.0.1", "localhost"], ...VALIDITY })),
  ca: TEST_CA.cert,
};

/** The name of {@link TEST_CLIENT}. */
export const TEST_CLIENT_NAME = "cluster";

/** The identity of a client. */
export const TEST_CLIENT = await createTestClient(TEST_CLIENT_NAME);

/** Creates the identity of another client. */
export async function createTestClient(name: string, unit?: string): Promise<TlsIdentity> {
  const pair = await issueClientCertificate(authority, { name, ...(unit ? { unit } : {}), ...VALIDITY });
  return { ...pair, ca: TEST_CA.cert };
}
