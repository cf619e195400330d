import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createCertificate } from "../../tls/certificate.ts";
import { residentMemory } from "./process_usage.ts";

/** Time until SIGKILL follows SIGTERM, in ms. */
const GRACE = 10_000;

/** As in webhook/deploy/deployment.yaml: the memory limit, and the heap size at which garbage collection starts. */
const HEAP = { BUN_JSC_forceRAMSize: String(512 * 2 ** 20), BUN_JSC_largeHeapSize: String(64 * 2 ** 20) };

/** A server under test, in a separate process. */
export interface ServerProcess extends AsyncDisposable {
  readonly port: number;
  readonly pid: number;
  /** Returns the resident memory, in bytes. */
  memory(): Promise<number>;
}

/** Creates a folder with a certificate for localhost: cert.pem, key.pem, ca.pem. Disposal removes it. */
export async function createTlsFolder(): Promise<{ path: string; ca: string } & AsyncDisposable> {
  const path = await mkdtemp(join(tmpdir(), "bench-"));
  const certificate = await createCertificate(["localhost"], Date.now());
  for (const part of ["cert", "key", "ca"] as const) await writeFile(join(path, `${part}.pem`), certificate[part]);
  return { path, ca: certificate.ca, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

/** Starts `bun FILE` on any free port. Reads the complete log, like a container runtime. Disposal ends the process. */
export async function startServer(
  file: string,
  { tls, environment = {} }: { tls: string; environment?: Record<string, string> },
): Promise<ServerProcess> {
  const child = Bun.spawn([process.execPath, file], {
    env: {
      PORT: "0",
      TLS_CERT_FILE: join(tls, "cert.pem"),
      TLS_KEY_FILE: join(tls, "key.pem"),
      ...HEAP,
      ...environment,
    },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const serving = Promise.withResolvers<number>();
  void drain();

  async function drain(): Promise<void> {
    let text: string | undefined = "";
    const decoder = new TextDecoder();
    for await (const chunk of child.stdout) {
      if (text === undefined) continue;
      text += decoder.decode(chunk, { stream: true });
      const line = text.split("\n").find((each) => each.includes('"message":"Serving"') && each.endsWith("}"));
      if (!line) continue;
      serving.resolve(JSON.parse(line).port);
      text = undefined;
    }
    serving.reject(new Error(`${file} ended before it logged "Serving": ${text}`));
  }

  return {
    port: await serving.promise,
    pid: child.pid,
    memory: () => residentMemory(child.pid),
    async [Symbol.asyncDispose]() {
      child.kill("SIGTERM");
      const limit = setTimeout(() => child.kill("SIGKILL"), GRACE);
      await child.exited;
      clearTimeout(limit);
    },
  };
}
