/** Says how long changes of one kind are held back, so that those that belong together become known together. */
export type Gathering = (state: {
  /** Whether there is such a change that is not known yet. */
  readonly hasChange: boolean;
  /** Whether more of them may follow soon. */
  readonly moreExpected: boolean;
}) => number;

/**
 * Creates a function that returns how long the changes are to wait from now, in ms: as long as more are expected, but at most `longest` ms
 * since the first of them. 0: they are to be told now.
 */
export function createGathering(longest: number, now: () => number = performance.now.bind(performance)): Gathering {
  let start: number | undefined;
  return ({ hasChange, moreExpected }) => {
    const first = hasChange ? (start ?? now()) : undefined;
    const rest = first === undefined || !moreExpected ? 0 : Math.max(0, first + longest - now());
    start = rest > 0 ? first : undefined;
    return rest;
  };
}
