/** Resolves when the turn of the event loop ends, at once for all that wait for it. */
export type EndOfTurn = () => Promise<void>;

export function createEndOfTurn(): EndOfTurn {
  let end: Promise<void> | undefined;
  return () => {
    end ??= new Promise((resolve) => {
      setImmediate(() => {
        end = undefined;
        resolve();
      });
    });
    return end;
  };
}
