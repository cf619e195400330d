/** A way to the page in the cluster, as docs/console.md tells it. Disposal ends it. */
export interface Forward extends AsyncDisposable {
  readonly url: string;
  readonly port: number;
}

/** Runs `kubectl port-forward`, and waits until it listens. @param port 0: any free one. */
export async function forwardPage(port = 0): Promise<Forward> {
  const ports = port === 0 ? ":80" : `${port}:80`;
  const command = ["kubectl", "port-forward", "-n", "bitfusion-system", "service/bitfusion-console", ports];
  const child = Bun.spawn(command, { stdio: ["ignore", "pipe", "inherit"] });
  const end = async () => {
    child.kill();
    await child.exited;
  };
  const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  let output = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    output += value;
    const [, found] = /127\.0\.0\.1:(\d+)/.exec(output) ?? [];
    if (found === undefined) continue;
    void drain(reader);
    return { url: `http://127.0.0.1:${found}/`, port: Number(found), [Symbol.asyncDispose]: end };
  }
  await end();
  throw new Error(`kubectl port-forward ended: ${output}`);
}

/** Reads on to the end: kubectl writes a line for each connection, and ends where it cannot. */
async function drain(reader: { read(): Promise<{ done: boolean }> }): Promise<void> {
  while (!(await reader.read()).done);
}
