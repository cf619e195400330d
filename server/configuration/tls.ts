import * as v from "valibot";
import { setting } from "../../program/environment.ts";

const Path = v.pipe(v.string("expected a path"), v.nonEmpty("expected a path"));

const Host = v.pipe(
  v.string("expected a host name or an IP address"),
  v.regex(/^[A-Za-z0-9._:-]+$/, "expected a host name or an IP address"),
);

/** The part `tls`. Paths are as written in the file. */
export const Tls = v.pipe(
  v.strictObject({
    ca: setting(Path, "The CAs of the clients. The first is that of the server's certificate"),
    caKey: setting(
      v.optional(Path),
      "The key of the CA, with which the server makes its own certificate and renews it",
    ),
    hosts: setting(
      v.optional(v.pipe(v.array(Host, "expected a list of hosts"), v.minLength(1, "expected at least one host"))),
      "The hosts in the addresses of this server, for the certificate made with `caKey`. Default: `name`",
    ),
    cert: setting(v.optional(Path), "Instead of `caKey`: the server's certificate"),
    key: setting(v.optional(Path), "With `cert`: its key"),
  }),
  v.check(
    ({ caKey, cert, key }) => (caKey === undefined ? Boolean(cert && key) : !cert && !key),
    "expected caKey, or cert and key",
  ),
);

export type TlsPaths = v.InferOutput<typeof Tls>;
