import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmod, chown, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { ConfigError } from "../../../program/config_error.ts";
import { ask, CAN_ISOLATE, createTestDataPlane } from "../testing/sandboxes.ts";
import { prepareIsolation } from "./isolation.ts";
import { createNamespaceConnector } from "./network_namespace.ts";
import { type Sandbox, startSandbox } from "./sandbox.ts";
import { processesOf } from "./uids.ts";

const PORT = 14_833;

const HAS_COMPILER = Bun.which("cc") !== null;

/** Compiles a library that runs these statements of C in each process that loads it. */
async function compileLibrary(path: string, statements: string): Promise<void> {
  const source = `#include <stdio.h>\n#include <unistd.h>\n__attribute__((constructor)) static void loaded(void) { ${statements} }\n`;
  const compiler = Bun.spawn(["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", path], {
    stdio: [new Blob([source]), "inherit", "inherit"],
  });
  expect(await compiler.exited).toBe(0);
}

describe.skipIf(!CAN_ISOLATE)("a sandbox", () => {
  const stack = new AsyncDisposableStack();
  afterAll(() => stack.disposeAsync());
  const connector = stack.use(createNamespaceConnector());
  const uids = new Map<string, number>();
  let { configuration } = {} as Awaited<ReturnType<typeof createTestDataPlane>>;
  beforeAll(async () => {
    ({ configuration } = stack.use(await createTestDataPlane()));
    expect(await prepareIsolation(configuration)).toBe(0);
  });

  function uidOf(name: string): number {
    const uid = uids.get(name) ?? configuration.firstUid + 1 + uids.size;
    uids.set(name, uid);
    return uid;
  }
  function start(name: string, command = configuration.command, environment: Record<string, string> = {}) {
    const launch = { command, environment: { PORT: String(PORT), ...environment } };
    return startSandbox({ launch, uid: uidOf(name), folder: join(configuration.folder, name), onLine: () => {} });
  }
  async function connect({ pid }: Sandbox): Promise<number> {
    for (;;) {
      const fd = connector.connect(pid, PORT);
      if (fd !== undefined) return fd;
      await Bun.sleep(10);
    }
  }
  /** Runs JavaScript in the process. */
  async function run(sandbox: Sandbox, code: string): Promise<unknown> {
    return ask(await connect(sandbox), `run ${code.replaceAll("\n", " ")}`);
  }
  const fs = (call: string) => `process.getBuiltinModule("node:fs").${call}`;

  test("has the environment of its launch, its own folder, and nothing of the server's but PATH", async () => {
    const sandbox = await start("environment", undefined, { GPUS: "a,b" });
    const environment = await ask(await connect(sandbox), "environment");
    const HOME = join(configuration.folder, "environment");
    expect(environment).toEqual({ PORT: String(PORT), GPUS: "a,b", HOME, PWD: HOME, PATH: process.env.PATH });
    expect(await run(sandbox, fs('writeFileSync("file", "text")'))).toBeNull();
    await sandbox.end(2000);
    expect(await readdir(configuration.folder)).not.toContain("environment");
  });

  test("reaches neither the server, its files, other machines nor a neighbour", async () => {
    using server = Bun.listen({ hostname: "0.0.0.0", port: 0, socket: { data() {} } });
    const key = join(configuration.folder, "ca.key");
    await writeFile(key, "secret");
    await chmod(key, 0o600);
    const [neighbour, attacker] = await Promise.all([start("neighbour"), start("attacker")]);
    expect(await run(neighbour, fs('writeFileSync("/tmp/file", "of the neighbour")'))).toBeNull();
    const [victim = 0] = processesOf((uid) => uid === uidOf("neighbour"));
    expect(victim).toBeGreaterThan(1);
    const attack = (code: string) => run(attacker, code);
    const connectTo = (host: string, port: number) =>
      `Bun.connect({ hostname: "${host}", port: ${port}, socket: { data() {} } }).then(() => "connected")`;

    expect(await attack(connectTo("127.0.0.1", server.port))).toEqual({ error: "ECONNREFUSED" });
    expect(await attack(connectTo("192.0.2.1", 80))).toEqual({
      error: expect.stringMatching(/^E(NETUNREACH|CONNREFUSED)$/),
    });
    expect(await attack('Object.keys(process.getBuiltinModule("node:os").networkInterfaces())')).toEqual(["lo"]);
    expect(await attack(fs(`readFileSync("${key}", "utf8")`))).toEqual({ error: "EACCES" });
    expect(await attack(fs(`readdirSync("${configuration.folder}")`))).toEqual({ error: "EACCES" });
    expect(await attack(fs(`readdirSync("${join(configuration.folder, "neighbour")}")`))).toEqual({ error: "EACCES" });
    expect(await attack(fs('readdirSync("/tmp")'))).toEqual([]);
    expect(await attack(fs('readdirSync("/proc").filter((name) => /^[0-9]+$/.test(name))'))).toEqual(["1"]);
    expect(await attack(`process.kill(${victim}, "SIGKILL")`)).toEqual({ error: "ESRCH" });
    expect(await attack("process.setuid(0)")).toEqual({ error: expect.stringContaining("EPERM") });
    const files = await attack(
      fs(
        'readdirSync("/proc/self/fd").map((fd) => { try { return process.getBuiltinModule("node:fs").readlinkSync("/proc/self/fd/" + fd); } catch { return ""; } })',
      ),
    );
    expect(
      (files as string[]).filter(
        (path) => path.startsWith("/") && !path.startsWith("/dev/") && !path.startsWith("/proc/"),
      ),
    ).toEqual([]);
    expect(await run(neighbour, "1 + 1")).toBe(2);
    await Promise.all([neighbour.end(2000), attacker.end(2000)]);
  });

  test("ends with all that it has started, also in other sessions, and without SIGTERM", async () => {
    const uid = uidOf("family");
    const sandbox = await start("family", undefined, { IGNORE_SIGTERM: "1" });
    await run(sandbox, 'Bun.spawn(["setsid", "--fork", "sleep", "1000"], { detached: true }).exited');
    expect(processesOf((each) => each === uid)).toHaveLength(2);
    await sandbox.end(50);
    expect(processesOf((each) => each === uid)).toEqual([]);
    expect(await sandbox.ended).toBe("it was killed by SIGKILL");
  });

  test("ends by SIGTERM if its process handles it", async () => {
    const sandbox = await start("polite");
    await connect(sandbox).then((fd) => ask(fd, "ready"));
    await sandbox.end(20_000);
    expect(await sandbox.ended).toBe("it exited with status 0");
  });

  test("has ended only when nothing is left, though unshare was killed alone", async () => {
    const sandbox = await start("orphan");
    await run(sandbox, "1");
    process.kill(sandbox.pid, "SIGKILL");
    expect(await sandbox.ended).toBe("it was killed by SIGKILL");
    expect(processesOf((uid) => uid === uidOf("orphan"))).toEqual([]);
  });

  test("says why a command does not run", async () => {
    const lines: string[] = [];
    const launch = { command: ["/does/not/exist"], environment: {} };
    const options = { launch, uid: uidOf("missing"), folder: join(configuration.folder, "missing") };
    const sandbox = await startSandbox({ ...options, onLine: (line) => lines.push(line) });
    expect(await sandbox.ended).toBe("it exited with status 127");
    expect(lines).toEqual([expect.stringContaining("/does/not/exist: No such file or directory")]);
  });
});

describe.skipIf(!CAN_ISOLATE)("prepareIsolation()", () => {
  test("ends the processes of an earlier run, and removes their folders and nothing else", async () => {
    await using other = await createTestDataPlane();
    const { configuration } = other;
    await prepareIsolation(configuration);
    const uid = configuration.firstUid + 7;
    const folder = join(configuration.folder, "lease");
    const launch = { command: ["sleep", "1000"], environment: {} };
    const { ended } = await startSandbox({ launch, uid, folder, onLine: () => {} });
    while (processesOf((each) => each === uid).length === 0) await Bun.sleep(10);
    await writeFile(join(configuration.folder, "other"), "");
    await writeFile(join(configuration.folder, "of an earlier lease"), "");
    await chown(join(configuration.folder, "of an earlier lease"), uid, uid);
    expect(await prepareIsolation(configuration)).toBe(1);
    await ended;
    expect(await readdir(configuration.folder)).toEqual(["other"]);
  });

  test.skipIf(!HAS_COMPILER)(
    "tries the limiter out, which the process then loads, and the programs that isolate it do not",
    async () => {
      await using other = await createTestDataPlane();
      const { folder, firstUid } = other.configuration;
      const [library, seen] = [join(folder, "limiter.so"), join(folder, "seen")];
      await writeFile(seen, "");
      await chmod(seen, 0o666);
      await compileLibrary(
        library,
        `FILE *seen = fopen("${seen}", "a"); fprintf(seen, "%u\\n", getuid()); fclose(seen);`,
      );
      const configuration = { ...other.configuration, limiter: { library, limits: "memory" } as const };
      expect(await prepareIsolation(configuration)).toBe(0);
      expect(await readFile(seen, "utf8")).toBe(`${firstUid}\n`);
    },
  );

  test.each([
    ["does not exist", async () => {}],
    ["is no library", (path: string) => writeFile(path, "text")],
  ])("rejects a limiter that %s", async (_, create) => {
    await using other = await createTestDataPlane();
    const library = join(other.configuration.folder, "limiter.so");
    await create(library);
    const configuration = { ...other.configuration, limiter: { library, limits: "memory" } as const };
    const error = await prepareIsolation(configuration).catch((error) => error);
    expect(error).toBeInstanceOf(ConfigError);
    expect(error.message).toStartWith(`Cannot use the limiter of dataPlane: ERROR: ld.so: object '${library}'`);
  });

  test("says what is missing", async () => {
    await using other = await createTestDataPlane();
    const path = process.env.PATH;
    process.env.PATH = other.configuration.folder;
    const error = await prepareIsolation(other.configuration).catch((error) => error);
    process.env.PATH = path;
    expect(error).toBeInstanceOf(ConfigError);
    expect(error.message).toMatch(
      /^Cannot isolate data-plane processes: .*unshare.*: expected root with CAP_SYS_ADMIN, and/,
    );
  });
});
