import { expect, test } from "bun:test";
import { copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parse } from "yaml";
import { version } from "../package.json";

const UNIT = join(import.meta.dir, "deploy/bitfusion-server.service");

test("the container of compose.yaml runs the image of this version, without rights", async () => {
  const { services } = parse(await readFile(join(import.meta.dir, "deploy/compose.yaml"), "utf8"));
  expect(services["bitfusion-server"]).toMatchObject({
    image: `bitfusion-server:${version}`,
    user: "65532:65532",
    read_only: true,
    cap_drop: ["ALL"],
    security_opt: ["no-new-privileges:true"],
    gpus: "all",
    volumes: ["/etc/bitfusion:/etc/bitfusion:ro", "/var/lib/bitfusion:/var/lib/bitfusion"],
  });
});

test.skipIf(!Bun.which("systemd-analyze")).each([
  ["the unit", []],
  ["the unit with a data plane", ["data-plane.conf"]],
])("systemd accepts %s", async (_, dropIns) => {
  const folder = await mkdtemp(join(tmpdir(), "unit-"));
  try {
    const unit = await readFile(UNIT, "utf8");
    const path = join(folder, "bitfusion-server.service");
    // systemd-analyze expects that the executable is installed
    await writeFile(path, unit.replace("/usr/local/bin/bitfusion-server", process.execPath));
    await mkdir(`${path}.d`);
    for (const name of dropIns) await copyFile(join(import.meta.dir, "deploy", name), join(`${path}.d`, name));
    const verification = Bun.spawn(["systemd-analyze", "verify", path], { stdio: ["ignore", "pipe", "pipe"] });
    const [status, stderr] = await Promise.all([verification.exited, verification.stderr.text()]);
    expect([status, stderr]).toEqual([0, ""]);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
