import type { Client } from "../clients/catalogue.ts";

/** What is made of a client is the same for each pod, and shared by their patches: it is only read. */
export function madeOnce<T extends {}>(make: (client: Client) => T): (client: Client) => T {
  const made = new WeakMap<Client, T>();
  return (client) => {
    const before = made.get(client);
    if (before !== undefined) return before;
    const result = make(client);
    made.set(client, result);
    return result;
  };
}
