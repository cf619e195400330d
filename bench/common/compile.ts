/** Compiles a program as the Dockerfiles do. Returns `outfile`. */
export async function compile(source: string, outfile: string): Promise<string> {
  const options = ["--compile", "--minify", "--bytecode", "--format=esm", "--splitting"];
  const build = Bun.spawn([process.execPath, "build", source, "--outfile", outfile, ...options], {
    stdio: ["ignore", "ignore", "inherit"],
  });
  if ((await build.exited) !== 0) throw new Error(`Cannot compile ${source}`);
  return outfile;
}
