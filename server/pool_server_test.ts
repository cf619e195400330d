import { expect, test } from "bun:test";
import { once } from "node:events";
import { type ClientHttp2Session, connect } from "node:http2";
import { silentLog } from "../program/testing.ts";
import { createAuthority } from "../tls/authority.ts";
import { TEST_CLIENT, TEST_SERVER } from "../tls/testing.ts";
import { startServer } from "./pool_server.ts";
import { TEST_RULES } from "./testing.ts";

/** Whether a session answers a ping. */
function answers(session: ClientHttp2Session): Promise<boolean> {
  return new Promise((resolve) => session.ping((error) => resolve(error === null)));
}

test("useTls() keeps connections when the certificate changes, and closes them when the clients' CA changes", async () => {
  await using server = await startServer({
    port: 0,
    host: "127.0.0.1",
    tls: TEST_SERVER,
    facts: { hostname: "server", hasRdma: false, cudaVersion: "12.4", driverVersion: "550.54.15" },
    gpus: [],
    clients: [TEST_RULES],
    timeToLive: 600_000,
    podTimeToLive: 600_000,
    drain: 50,
    log: silentLog,
  });
  const session = connect(`https://127.0.0.1:${server.port}`, { ...TEST_CLIENT });
  session.on("error", () => {});
  await once(session, "remoteSettings");
  server.useTls({ ...TEST_SERVER });
  expect(await answers(session)).toBe(true);
  const closed = once(session, "close");
  const other = await createAuthority("other-ca", { now: Date.now(), lifetime: 3600_000 });
  server.useTls({ ...TEST_SERVER, ca: other.certificate.toString("pem") });
  await closed;
  const refused = connect(`https://127.0.0.1:${server.port}`, { ...TEST_CLIENT });
  refused.on("error", () => {});
  await once(refused, "close");
});
