import type { Json } from "./parts.ts";

const LIBRARY_PATH = "LD_LIBRARY_PATH";
const OWN = "BITFUSION_OWN_LD_LIBRARY_PATH";

/**
 * The container's variables with the client's libraries in front of what its own LD_LIBRARY_PATH says, at the same place in the
 * list: a later variable may refer to it. Where that is a reference, it keeps its value under another name.
 */
export function withLibraryPath(env: readonly Json[], libraryPath: string): Json[] {
  const position = env.findLastIndex(({ name }) => name === LIBRARY_PATH);
  const own = env[position];
  if (!own) return [...env, { name: LIBRARY_PATH, value: libraryPath }];
  const replacement =
    "valueFrom" in own
      ? [
          { ...own, name: OWN },
          { name: LIBRARY_PATH, value: `${libraryPath}:$(${OWN})` },
        ]
      : [{ ...own, value: own.value ? `${libraryPath}:${own.value}` : libraryPath }];
  return env.toSpliced(position, 1, ...replacement);
}
