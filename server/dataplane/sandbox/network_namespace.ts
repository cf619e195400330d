import { dlopen, ptr } from "bun:ffi";
import { closeSync, openSync, readlinkSync } from "node:fs";

// <sched.h>, <sys/socket.h>, <netinet/in.h>, <netinet/tcp.h>, on Linux with 64 bits
const CLONE_NEWNET = 0x40000000;
const [AF_INET, SOCK_STREAM, SOCK_NONBLOCK, SOCK_CLOEXEC] = [2, 1, 0o4000, 0o2000000];
const [IPPROTO_TCP, TCP_INFO, TCP_ESTABLISHED] = [6, 11, 1];

const OWN = "/proc/thread-self/ns/net";

/** Connects to processes in network namespaces of their own. */
export interface NamespaceConnector extends Disposable {
  /**
   * Connects to a TCP port at 127.0.0.1 in the network namespace of a process, which must not be that of this process. Returns the file
   * descriptor of a connected, non-blocking socket. Returns undefined if the process has ended, has no namespace yet, or does not listen.
   *
   * @throws {Error} if this process may not enter the namespace.
   */
  connect(pid: number, port: number): number | undefined;
}

/**
 * A socket belongs to the namespace in which it was made, and a thread can enter another one (setns(2), CAP_SYS_ADMIN). This takes some
 * microseconds, in which nothing else runs on this thread; no bytes are relayed.
 *
 * @throws {Error} if there is no glibc.
 */
export function createNamespaceConnector(): NamespaceConnector {
  const libc = dlopen("libc.so.6", {
    setns: { args: ["i32", "i32"], returns: "i32" },
    socket: { args: ["i32", "i32", "i32"], returns: "i32" },
    connect: { args: ["i32", "ptr", "u32"], returns: "i32" },
    getsockopt: { args: ["i32", "i32", "i32", "ptr", "ptr"], returns: "i32" },
  });
  const { setns, socket, connect, getsockopt } = libc.symbols;
  const own = openSync(OWN, "r");

  function socketIn(namespace: number): number {
    if (setns(namespace, CLONE_NEWNET) !== 0) {
      throw new Error("Cannot enter a network namespace: expected the capability CAP_SYS_ADMIN");
    }
    const fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    // in the wrong namespace, this process would connect to what it must not
    if (setns(own, CLONE_NEWNET) !== 0) process.abort();
    if (fd < 0) throw new Error("Cannot open a socket");
    return fd;
  }
  function isConnected(fd: number): boolean {
    const [state, length] = [new Uint8Array(1), new Uint32Array([1])];
    return getsockopt(fd, IPPROTO_TCP, TCP_INFO, ptr(state), ptr(length)) === 0 && state[0] === TCP_ESTABLISHED;
  }

  return {
    connect(pid, port) {
      const namespace = openNamespace(pid);
      if (namespace === undefined) return undefined;
      try {
        const fd = socketIn(namespace);
        connect(fd, ptr(loopback(port)), 16);
        // the kernel connects within the call, unless the process accepts too slowly
        if (isConnected(fd)) return fd;
        closeSync(fd);
        return undefined;
      } finally {
        closeSync(namespace);
      }
    },
    [Symbol.dispose]() {
      closeSync(own);
      libc.close();
    },
  };
}

/** Undefined if the process has ended, or is still in the namespace of this process. */
function openNamespace(pid: number): number | undefined {
  const path = `/proc/${pid}/ns/net`;
  try {
    return readlinkSync(path) === readlinkSync(OWN) ? undefined : openSync(path, "r");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

/** A struct sockaddr_in of 127.0.0.1. */
function loopback(port: number): Uint8Array {
  const address = new Uint8Array(16);
  address[0] = AF_INET; // sin_family, little-endian
  new DataView(address.buffer).setUint16(2, port);
  address.set([127, 0, 0, 1], 4);
  return address;
}
