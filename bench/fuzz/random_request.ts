import { createRandom, type Random } from "../common/random.ts";
import { randomReview } from "./random_pod.ts";

/** One request of the fuzz test. */
export interface RandomRequest {
  /** How the body was generated. */
  readonly kind: string;
  readonly path: "/mutate" | "/validate";
  readonly type: string;
  readonly body: string | Uint8Array;
}

type Make = (random: Random) => string | Uint8Array;

const TYPES = [
  "",
  "text/plain",
  "application/json; charset=utf-16",
  "multipart/form-data",
  "application/x-www-form-urlencoded",
];
const ODD = [null, true, 0, -1, 1e308, "", "x", [], {}, [[]], "__proto__", { name: null }, { name: "a", value: 1 }];
const KEYS = ["name", "spec", "metadata", "__proto__", "constructor", "toString", "length", "", "a/b~c"];

/** Kinds of requests. A request belongs to the first kind whose `below` exceeds a random number from 0 to 99,999. */
const KINDS: readonly (readonly [below: number, kind: string, make: Make])[] = [
  [30_000, "review", (random) => JSON.stringify(randomReview(random))],
  [70_000, "review with odd values", (random) => JSON.stringify(withOddValues(random, 1 + random.below(4)))],
  [78_000, "truncated", (random) => truncated(random, JSON.stringify(randomReview(random)))],
  [86_000, "corrupted bytes", (random) => withCorruptedBytes(random, JSON.stringify(randomReview(random)))],
  [93_000, "random JSON", (random) => JSON.stringify(randomJson(random, 4)) ?? "null"],
  [98_000, "random bytes", (random) => Uint8Array.from({ length: random.below(300) }, () => random.below(256))],
  [99_890, "deeply nested", deeplyNested],
  [99_990, "large", large],
  [100_000, "too large", (random) => `{"a":"${"x".repeat(7 * 1024 * 1024 + random.below(1024 * 1024))}"}`],
];

/** Creates the request with this index. The same seed and index give the same request. */
export function createRandomRequest(seed: number, index: number): RandomRequest {
  const random = createRandom(Math.imul(seed, 0x9e3779b1) ^ Math.imul(index + 1, 0x85ebca6b));
  const place = random.below(100_000);
  const [, kind, make] = KINDS.find(([below]) => place < below) ?? [0, "", () => ""];
  const path = random.chance(0.75) ? "/mutate" : "/validate";
  const type = random.chance(0.95) ? "application/json" : random.pick(TYPES);
  return { kind, path, type, body: make(random) };
}

/** Creates a review in which some values, at random places, are replaced, removed or duplicated. */
function withOddValues(random: Random, times: number): unknown {
  const review = randomReview(random);
  const pod = review.request.object;
  for (let time = 0; time < times; time++) {
    let place: Record<string, unknown> = random.chance(0.8) ? pod : review;
    for (;;) {
      const key = random.pick([...Object.keys(place), "x"]);
      const value = place[key];
      const canDescend = typeof value === "object" && value !== null && Object.keys(value).length > 0;
      if (canDescend && random.chance(0.85)) {
        place = value as Record<string, unknown>;
        continue;
      }
      change(random, place, key);
      break;
    }
  }
  return review;
}

function change(random: Random, place: Record<string, unknown>, key: string): void {
  const action = random.below(4);
  if (action === 0) place[key] = structuredClone(random.pick(ODD));
  else if (action === 1) place[key] = randomJson(random, 3);
  else if (action === 2) delete place[key];
  else if (Array.isArray(place)) place.push(place[Number(key)]);
  else define(place, random.pick(KEYS), place[key]);
}

/** Sets a property, also `__proto__`, where an assignment would set the prototype. */
function define(place: object, key: string, value: unknown): void {
  Object.defineProperty(place, key, { value, enumerable: true, configurable: true, writable: true });
}

function randomJson(random: Random, depth: number): unknown {
  const shape = random.below(depth > 0 ? 4 : 2);
  if (shape === 0) return structuredClone(random.pick(ODD));
  if (shape === 1) return random.chance(0.5) ? random.below(2 ** 32) / 7 : String.fromCharCode(random.below(0xffff));
  const length = random.below(5);
  if (shape === 2) return Array.from({ length }, () => randomJson(random, depth - 1));
  return Object.fromEntries(Array.from({ length }, () => [random.pick(KEYS), randomJson(random, depth - 1)]));
}

function truncated(random: Random, text: string): string {
  return text.slice(0, random.below(text.length));
}

function withCorruptedBytes(random: Random, text: string): Uint8Array {
  const bytes = Buffer.from(text);
  for (let left = 1 + random.below(4); left > 0; left--) bytes[random.below(bytes.length)] = random.below(256);
  return bytes;
}

/** Creates a review with a deeply nested value in it, or only the nested value. */
function deeplyNested(random: Random): string {
  const depth = 2 ** (4 + random.below(14));
  const value = random.chance(0.5)
    ? "[".repeat(depth) + "]".repeat(depth)
    : '{"a":'.repeat(depth) + 0 + "}".repeat(depth);
  if (random.chance(0.2)) return value;
  const place = random.pick(['"image":', '"command":', '"resources":', '"annotations":', '"limits":', '"dryRun":']);
  return JSON.stringify(randomReview(random)).replace(place, () => `${place}${value},"x":`);
}

/** Creates a review of up to 1 MB with a long list of environment variables. */
function large(random: Random): string {
  const review = randomReview(random);
  const count = random.below(15_000);
  const env = Array.from({ length: count }, (_, index) => ({
    name: `VARIABLE_${index}`,
    value: `value ${"x".repeat(30)}`,
  }));
  return JSON.stringify({
    ...review,
    request: {
      ...review.request,
      object: {
        ...review.request.object,
        spec: { containers: [{ ...review.request.object.spec.containers[0], env }] },
      },
    },
  });
}
