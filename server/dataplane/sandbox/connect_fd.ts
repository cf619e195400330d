/** Uses a connected socket. Bun.connect() can, but its types do not say so. */
export function connectFd<Data>(options: Bun.FdSocketOptions<Data>): Promise<Bun.Socket<Data>> {
  return Bun.connect(options as unknown as Bun.UnixSocketOptions<Data>);
}
