import { readFile } from "node:fs/promises";

const { PORT = "0", TLS_CERT_FILE = "", TLS_KEY_FILE = "", ANSWER = "" } = process.env;

/** The webhook's response to the same body. */
const webhookResponse = JSON.parse(ANSWER);

/** The minimum that any webhook on Bun does: parse the body, serialize a response. */
const server = Bun.serve({
  port: Number(PORT),
  tls: { cert: await readFile(TLS_CERT_FILE, "utf8"), key: await readFile(TLS_KEY_FILE, "utf8") },
  maxRequestBodySize: 7 * 1024 * 1024,
  async fetch(request) {
    const review = (await request.json()) as { request: { uid: string } };
    return Response.json({ ...webhookResponse, response: { ...webhookResponse.response, uid: review.request.uid } });
  },
});
console.log(JSON.stringify({ message: "Serving", port: server.port }));
process.once("SIGTERM", () => process.exit());
