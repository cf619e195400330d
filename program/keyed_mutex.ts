/** Runs what is given for one key one after the other, in order; for different keys at once. */
export type Serially = <T>(key: string, run: () => Promise<T>) => Promise<T>;

export function createSerially(): Serially {
  const last = new Map<string, Promise<void>>();
  return (key, run) => {
    const own = (last.get(key) ?? Promise.resolve()).then(run);
    const forget = () => {
      if (last.get(key) === ended) last.delete(key);
    };
    const ended = own.then(forget, forget);
    last.set(key, ended);
    return own;
  };
}
