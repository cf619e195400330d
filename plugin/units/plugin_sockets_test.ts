import { expect, test } from "bun:test";
import { chmod, mkdtempDisposable, readdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { serveGrpc } from "../../grpc/server.ts";

test("removeStaleSockets() keeps a socket that it may not connect to: somebody may listen there", async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), "sockets-"));
  const path = join(folder.path, "bitfusion.io-0a0b0c0d.sock");
  await using _server = await serveGrpc({ listen: { path }, routes: () => {} });
  await chmod(folder.path, 0o777);
  await chmod(path, 0o000);
  // Only a process without root's privileges is refused.
  const script = `
    import { removeStaleSockets } from ${JSON.stringify(join(import.meta.dir, "plugin_sockets.ts"))};
    if (process.getuid() === 0) process.setuid(65534);
    await removeStaleSockets(${JSON.stringify(folder.path)}, "bitfusion.io");`;
  await using child = Bun.spawn([process.execPath, "-e", script], { stdio: ["ignore", "inherit", "pipe"] });
  expect(await new Response(child.stderr).text()).toBe("");
  expect(await child.exited).toBe(0);
  expect(await readdir(folder.path)).toEqual(["bitfusion.io-0a0b0c0d.sock"]);
});
