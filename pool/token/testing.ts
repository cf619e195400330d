import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { TEST_CLIENT, TEST_CLIENT_NAME } from "../../tls/testing.ts";
import { formatClientYaml, TOKEN_FILES } from "./token.ts";

/** The files of a token, which the servers of tests accept, by name. */
export const TEST_TOKEN: Readonly<Record<string, string>> = {
  [TOKEN_FILES.ca]: TEST_CLIENT.ca,
  [TOKEN_FILES.client]: formatClientYaml(TEST_CLIENT_NAME, TEST_CLIENT),
};

/** Writes the token to a folder. Returns the folder. */
export async function writeTestToken(folder: string): Promise<string> {
  await mkdir(folder, { recursive: true });
  for (const [name, text] of Object.entries(TEST_TOKEN)) await writeFile(join(folder, name), text, { mode: 0o600 });
  return folder;
}
