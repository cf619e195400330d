/*
 * Stands in for a data plane in tests, together with cuda_stand_in.c. All connections of a lease together get LIMIT_MB megabytes, if that is set.
 */
const OUT_OF_MEMORY = 2;
const limit = Number(process.env.LIMIT_MB || Number.POSITIVE_INFINITY) * 1e6;
let used = 0;

process.on("SIGTERM", () => process.exit(0)); // the first process of a namespace ignores it by default

Bun.listen<{ used: number }>({
  hostname: "0.0.0.0",
  port: Number(process.env.PORT),
  socket: {
    open(socket) {
      socket.data = { used: 0 };
    },
    data(socket, data) {
      const [call, bytes = "0"] = data.toString().trim().split(" ");
      const size = call === "allocate" ? Number(bytes) : 0;
      const result = used + size > limit ? OUT_OF_MEMORY : 0;
      if (result === 0) {
        used += size;
        socket.data.used += size;
      }
      socket.write(`${result}\n`);
    },
    close(socket) {
      used -= socket.data.used;
    },
  },
});
