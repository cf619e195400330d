import { expect, test } from "bun:test";
import { formatRefusal, parseConnect } from "./connect_request.ts";

const HOST = "Host: a:1";
const TOKEN = "Proxy-Authorization: Bearer s3cr-et_";

function head(...lines: string[]): string {
  return lines.join("\r\n");
}

test.each([
  ["as our client sends it", head("CONNECT a-1:1 HTTP/1.1", HOST, TOKEN)],
  [
    "in other cases and with spaces",
    head("CONNECT a-1:1 HTTP/1.1", "x:", "HOST:a", "proxy-authorization:\t bearer  s3cr-et_ "),
  ],
  [
    "as curl sends it",
    head("CONNECT a-1:1 HTTP/1.1", HOST, "User-Agent: curl/8", "Proxy-Connection: Keep-Alive", TOKEN),
  ],
])("parseConnect() accepts a request %s", (_, text) => {
  expect(parseConnect(text)).toEqual({ leaseId: "a-1", secret: "s3cr-et_" });
});

test.each([
  ["no request", "\x16\x03\x01", 400, "This is not a request of HTTP/1.1"],
  ["a line feed alone", `CONNECT a:1 HTTP/1.1\n${HOST}\n${TOKEN}`, 400, "This is not a request of HTTP/1.1"],
  ["HTTP/1.0", head("CONNECT a:1 HTTP/1.0", HOST, TOKEN), 505, "Expected HTTP/1.1"],
  ["another method", head("GET / HTTP/1.1", HOST, TOKEN), 405, "Expected the method CONNECT"],
  ["a target without a port", head("CONNECT a HTTP/1.1", HOST, TOKEN), 400, "Expected the target <lease id>:1"],
  ["another port", head("CONNECT a:22 HTTP/1.1", HOST, TOKEN), 400, "Expected the target <lease id>:1"],
  ["a path", head("CONNECT /a:1 HTTP/1.1", HOST, TOKEN), 400, "Expected the target <lease id>:1"],
  ["a malformed field", head("CONNECT a:1 HTTP/1.1", HOST, "a b: c", TOKEN), 400, "A header field is malformed"],
  ["a folded field", head("CONNECT a:1 HTTP/1.1", HOST, TOKEN, " x"), 400, "A header field is malformed"],
  ["no Host", head("CONNECT a:1 HTTP/1.1", TOKEN), 400, "Expected a field Host"],
  ["two secrets", head("CONNECT a:1 HTTP/1.1", HOST, TOKEN, TOKEN), 400, "Expected one field Proxy-Authorization"],
  ["no secret", head("CONNECT a:1 HTTP/1.1", HOST), 407, "Expected the secret of the lease as a bearer token"],
  [
    "a password",
    head("CONNECT a:1 HTTP/1.1", HOST, "Proxy-Authorization: Basic YTpi"),
    407,
    "Expected the secret of the lease as a bearer token",
  ],
])("parseConnect() refuses %s", (_, text, status, message) => {
  expect(parseConnect(text)).toEqual({ status, message } as never);
});

test("formatRefusal() is a complete answer that says what is wrong", () => {
  expect(formatRefusal({ status: 407, message: "Née" })).toBe(
    "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Bearer\r\nContent-Type: text/plain; charset=utf-8\r\n" +
      "Content-Length: 5\r\nConnection: close\r\n\r\nNée\n",
  );
});
