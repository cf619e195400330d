import { connect } from "node:net";
import { splitAddress } from "../address.ts";

/**
 * How long `host:port` takes to accept a TCP connection, in ms: one round trip of the network. Undefined if it does not within
 * `timeout` ms, or once the signal is aborted.
 */
export function connectTime(address: string, timeout: number, signal: AbortSignal): Promise<number | undefined> {
  if (signal.aborted) return Promise.resolve(undefined);
  return new Promise((resolve) => {
    let start = performance.now();
    const socket = connect(splitAddress(address));
    const settle = (time?: number) => {
      clearTimeout(limit);
      signal.removeEventListener("abort", refuse);
      socket.destroy();
      resolve(time);
    };
    const refuse = () => settle();
    const limit = setTimeout(refuse, timeout);
    signal.addEventListener("abort", refuse, { once: true });
    socket.once("lookup", () => {
      start = performance.now(); // DNS is not the pool's
    });
    socket.once("connect", () => settle(performance.now() - start));
    socket.once("error", refuse);
  });
}
