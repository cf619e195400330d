import { connect } from "node:net";
import { splitAddress } from "../address.ts";

/**
 * Measures how long `host:port` takes to accept a TCP connection, in ms. This is one network round trip, without the
 * DNS lookup. Undefined if the connection fails, is not accepted within `timeout` ms, or the signal is aborted.
 */
export function measureConnectTime(address: string, timeout: number, signal: AbortSignal): Promise<number | undefined> {
  if (signal.aborted) return Promise.resolve(undefined);
  return new Promise((resolve) => {
    let start = performance.now();
    const socket = connect(splitAddress(address));
    const settle = (time?: number) => {
      clearTimeout(timer);
      signal.removeEventListener("abort", fail);
      socket.destroy();
      resolve(time);
    };
    const fail = () => settle();
    const timer = setTimeout(fail, timeout);
    signal.addEventListener("abort", fail, { once: true });
    socket.once("lookup", () => {
      start = performance.now(); // exclude the DNS lookup
    });
    socket.once("connect", () => settle(performance.now() - start));
    socket.once("error", fail);
  });
}
