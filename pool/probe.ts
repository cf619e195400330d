import { connect } from "node:net";
import { splitAddress } from "./address.ts";

/** Whether `host:port` accepts a TCP connection within `timeout` ms. False, too, once the signal is aborted. */
export function accepts(address: string, timeout: number, signal: AbortSignal): Promise<boolean> {
  if (signal.aborted) return Promise.resolve(false);
  return new Promise((resolve) => {
    const socket = connect(splitAddress(address));
    const settle = (accepted: boolean) => {
      clearTimeout(limit);
      signal.removeEventListener("abort", refuse);
      socket.destroy();
      resolve(accepted);
    };
    const refuse = () => settle(false);
    const limit = setTimeout(refuse, timeout);
    signal.addEventListener("abort", refuse, { once: true });
    socket.once("connect", () => settle(true));
    socket.once("error", refuse);
  });
}
