/*
 * Stands in for a data plane in tests. It listens on PORT, and answers each line of a connection: `environment` with its environment,
 * `run CODE` with the result of the JavaScript, and anything else with the same line. IGNORE_SIGTERM=1: it does.
 */
const decoder = new TextDecoder();

if (process.env.IGNORE_SIGTERM) process.on("SIGTERM", () => {});
else process.on("SIGTERM", () => process.exit(0)); // the first process of a namespace ignores it by default

Bun.listen({
  hostname: "0.0.0.0",
  port: Number(process.env.PORT),
  socket: {
    async data(socket, data) {
      const line = decoder.decode(data).trim();
      socket.write(`${JSON.stringify((await answer(line)) ?? null)}\n`);
    },
  },
});

async function answer(line: string): Promise<unknown> {
  if (line === "environment") return process.env;
  if (!line.startsWith("run ")) return line;
  try {
    return await new Function(`return (async () => (${line.slice(4)}))()`)();
  } catch (error) {
    return { error: (error as NodeJS.ErrnoException).code ?? String(error) };
  }
}
