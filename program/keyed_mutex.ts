/** Runs functions with the same key one at a time, in order. Functions with different keys run concurrently. */
export type KeyedMutex = <T>(key: string, run: () => Promise<T>) => Promise<T>;

/** Creates a mutex without any running functions. */
export function createKeyedMutex(): KeyedMutex {
  const tails = new Map<string, Promise<void>>();
  return (key, run) => {
    const result = (tails.get(key) ?? Promise.resolve()).then(run);
    const cleanUp = () => {
      if (tails.get(key) === tail) tails.delete(key);
    };
    const tail = result.then(cleanUp, cleanUp);
    tails.set(key, tail);
    return result;
  };
}
