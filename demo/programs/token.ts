import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { parseToken, TOKEN_FILES } from "../../pool/token/token.ts";
import { writeToken } from "../../server/token/token_files.ts";
import type { TlsIdentity } from "../../tls/key_pair.ts";

/** The folder of the pool's CA, in the folder of the demo. */
export const CA_FOLDER = "ca";
/** The cluster's name in its token. */
export const CLUSTER = "demo";

/** The pool's token, and what its servers need. */
export interface PoolToken {
  /** The content of the token's files by name, in base64: the data of a Secret. */
  readonly data: Readonly<Record<string, string>>;
  /** The identity of the cluster. */
  readonly tls: TlsIdentity;
}

/** Creates the token of a pool as an administrator does with `bitfusion-server token`. */
export async function createToken(folder: string, servers: readonly string[]): Promise<PoolToken> {
  const tokenFolder = join(folder, "token");
  await writeToken(tokenFolder, { ca: join(folder, CA_FOLDER), client: CLUSTER, servers, now: Date.now() });
  const files: Record<string, string> = {};
  for (const name of Object.values(TOKEN_FILES)) files[name] = await readFile(join(tokenFolder, name), "utf8");
  const open = (path: string) => ({ path, text: files[path] ?? "" });
  const { tls } = parseToken({ ca: open(TOKEN_FILES.ca), client: open(TOKEN_FILES.client) });
  if (!tls) throw new Error("The token has no certificate");
  const data = Object.fromEntries(Object.entries(files).map(([name, text]) => [name, btoa(text)]));
  return { data, tls };
}
