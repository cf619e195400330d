/* The gate in front of one lease, whose process listens on UPSTREAM. */
import { readFile } from "node:fs/promises";
import { getLogger } from "@logtape/logtape";
import { openGate } from "../../server/gate/gate.ts";
import type { Lease } from "../../server/leases/ledger.ts";
import { LEASE } from "./transfer.ts";

const { TLS_CERT_FILE = "", TLS_KEY_FILE = "", UPSTREAM } = process.env;
const tls = { cert: await readFile(TLS_CERT_FILE, "utf8"), key: await readFile(TLS_KEY_FILE, "utf8") };
const { signal } = new AbortController();
const gate = openGate({
  port: 0,
  host: "127.0.0.1",
  tls,
  ledger: { get: () => LEASE as Lease, untilEnded: () => signal },
  connect: async () => ({ hostname: "127.0.0.1", port: Number(UPSTREAM) }),
  log: getLogger("bench"),
});
process.on("SIGTERM", () => process.exit(0));
console.log(JSON.stringify({ message: "Serving", port: gate.port }));
