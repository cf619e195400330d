import { X509Certificate } from "node:crypto";
import * as v from "valibot";
import { parse, stringify } from "yaml";
import { ConfigError } from "../../program/config_error.ts";
import { describeIssue } from "../../program/text/describe_issue.ts";
import { findPairProblem, type KeyPair, type TlsIdentity } from "../../tls/key_pair.ts";

/**
 * The files of a pool's token. The first three are those of Bitfusion's own tokens; `servers.conf` is read by
 * `pool/sources`.
 */
export const TOKEN_FILES = {
  /** The CAs of the servers. */
  ca: "ca.crt",
  /** The identity of a cluster, which sees its GPUs and leases. */
  client: "client.yaml",
  servers: "servers.conf",
  /** The identity of a cluster's pods, which lists nothing: whoever can create pods can read it. */
  podClient: "pod-client.yaml",
} as const;

/**
 * The organizational unit in the certificate of a pod client. A cluster's own certificate has none; the common name of
 * both is the name of the cluster.
 */
export const POD_UNIT = "pods";

/** A file of a token. */
export interface TokenFile {
  /** For messages. */
  readonly path: string;
  readonly text: string;
}

/** `ca.crt` and `client.yaml`, or another identity in its place. */
export interface TokenTexts {
  readonly ca: TokenFile;
  readonly client: TokenFile;
}

/** What is known about a pool from its token. */
export interface Token {
  /** Undefined for servers with another protocol than `bitfusion.pool.v1`, such as Bitfusion's own. */
  readonly tls?: TlsIdentity;
}

/** `client.yaml`, of which only these two fields are used. */
const ClientYaml = v.object(
  { certificate: v.optional(v.string("expected text")), key: v.optional(v.string("expected text")) },
  "expected a mapping",
);

/** Parses a token. @throws {ConfigError} names the file, the field and what is expected. */
export function parseToken({ ca, client }: TokenTexts): Token {
  const { certificate: cert, key } = parseClientYaml(client);
  if (cert === undefined && key === undefined) return {};
  const problem = findPairProblem(cert ?? "", key ?? "");
  if (problem) {
    const field = problem.wrong === "cert" ? "certificate" : "key";
    throw new ConfigError(`Cannot use ${client.path}: ${field}: expected ${problem.expected}`);
  }
  if (!isCertificate(ca.text)) throw new ConfigError(`Cannot use ${ca.path}: expected a certificate in PEM`);
  return { tls: { ca: ca.text, cert: cert ?? "", key: key ?? "" } };
}

function parseClientYaml({ text, path }: TokenFile): v.InferOutput<typeof ClientYaml> {
  let document: unknown;
  try {
    document = parse(text);
  } catch (error) {
    // not the message of the parser, which quotes the line
    const { line } = (error as { linePos?: { line: number }[] }).linePos?.[0] ?? {};
    throw new ConfigError(`Cannot use ${path}: expected YAML${line ? ` (line ${line})` : ""}`);
  }
  const { success, output, issues } = v.safeParse(ClientYaml, Array.isArray(document) ? "list" : document);
  if (success) return output;
  const [issue] = issues;
  throw new ConfigError(`Cannot use ${path}: ${issue.path ? describeIssue(issue) : issue.message}`);
}

function isCertificate(text: string): boolean {
  try {
    return new X509Certificate(text) !== undefined;
  } catch {
    return false;
  }
}

/** The content of a `client.yaml`. */
export function formatClientYaml(client: string, { cert, key }: KeyPair): string {
  return stringify({ client, certificate: cert, key });
}
