import { dirname, resolve } from "node:path";

/**
 * Compiles a program to one executable file, with the options of the Dockerfiles. Returns `outfile`. Bun's temporary
 * files are in the folder of `outfile`.
 *
 * @throws {Error} if the program cannot be compiled. The compiler's messages are on standard error.
 * @throws the signal's reason when the signal is aborted.
 */
export async function compile(source: string, outfile: string, signal?: AbortSignal): Promise<string> {
  signal?.throwIfAborted();
  const options = ["--compile", "--minify", "--bytecode", "--format=esm", "--splitting"];
  const build = Bun.spawn([process.execPath, "build", resolve(source), "--outfile", resolve(outfile), ...options], {
    cwd: dirname(outfile),
    stdio: ["ignore", "ignore", "inherit"],
    ...(signal ? { signal } : {}),
  });
  const status = await build.exited;
  signal?.throwIfAborted();
  if (status !== 0) throw new Error(`Cannot compile ${source}`);
  return outfile;
}
