import { expect, test } from "bun:test";
import fc from "fast-check";
import { FILTER_KEYS } from "./filter.ts";
import { formatPodClaims, type PodClaim, parsePodClaims, unitsOfClaims } from "./pod_claims.ts";

const claim = { name: "bitfusion-1", containers: ["train"], share: "1x50", units: 50, client: "simulated" };

const share = fc.oneof(
  fc.record({ gpus: fc.integer({ min: 1, max: 32 }), percent: fc.integer({ min: 1, max: 100 }) }),
  fc.record({ gpus: fc.integer({ min: 1, max: 32 }), memoryMb: fc.integer({ min: 1, max: 99_999 }) }),
);
const claims: fc.Arbitrary<PodClaim[]> = fc.uniqueArray(
  fc
    .record({
      name: fc.stringMatching(/^[a-z0-9]{1,20}$/),
      containers: fc.array(fc.stringMatching(/^[a-z0-9]{1,20}$/), { minLength: 1, maxLength: 3 }),
      share,
      units: fc.integer({ min: 1, max: 100 }),
      filters: fc.array(fc.record({ key: fc.constantFrom(...FILTER_KEYS), value: fc.stringMatching(/^[\w=]{1,9}$/) })),
      client: fc.stringMatching(/^[\w.-]{1,20}$/),
    })
    .chain((each) => fc.constantFrom(each, { ...each, oneServer: true as const }))
    .map((each) => ({ ...each, units: "percent" in each.share ? each.share.percent : each.units })),
  { selector: ({ name }) => name },
);

test("parsePodClaims() parses what formatPodClaims() formats", () => {
  fc.assert(fc.property(claims, (list) => expect(parsePodClaims(formatPodClaims(list))).toEqual(list)));
});

test.each<[string, unknown, string]>([
  ["text", "{", 'the document is "{": expected Array'],
  ["a share", [{ ...claim, share: "1x101" }], '0.share is "1x101": expected a share such as 1x50 or 2x8000mb'],
  ["units of another share", [{ ...claim, units: 1 }], "0.units: expected the share's percent"],
  ["fractions of units", [{ ...claim, units: 0.5 }], "0.units is 0.5: expected a whole number from 1 to 100"],
  ["a name", [{ ...claim, name: "../x" }], '0.name is "../x": expected the name of an object'],
  ["no containers", [{ ...claim, containers: [] }], "0.containers: expected a container"],
  ["an unknown field", [{ ...claim, pods: 1 }], "0.pods is not a known field"],
  ["one server as text", [{ ...claim, oneServer: "yes" }], '0.oneServer is "yes": expected true, or nothing'],
  ["two claims of one name", [claim, claim], "the document: expected different names"],
  ["too many claims", Array(257).fill(claim), "the document: expected at most 256 claims"],
])("parsePodClaims() refuses %s", (_, value, reason) => {
  const text = typeof value === "string" ? value : JSON.stringify(value);
  expect(() => parsePodClaims(text)).toThrow(`bitfusion.io/claims: ${reason}`);
});

test("parsePodClaims() reads what earlier versions wrote", () => {
  const [parsed] = parsePodClaims(JSON.stringify([claim]));
  expect(parsed).toEqual({ ...claim, share: { gpus: 1, percent: 50 }, filters: [] });
});

test("parsePodClaims() names the field of a wrong filter", () => {
  const text = JSON.stringify([{ ...claim, filters: ["server.color=red"] }]);
  expect(() => parsePodClaims(text)).toThrow('0.filters.0 is "server.color=red": expected key=value');
});

test("parsePodClaims() never throws anything but its own errors, whatever a tenant writes", () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
      try {
        parsePodClaims(text);
      } catch (error) {
        expect(String(error)).toStartWith("Error: bitfusion.io/claims");
      }
    }),
  );
  expect(() => parsePodClaims(" ".repeat(65_537))).toThrow("has 65537 characters: expected at most 65536");
});

test("unitsOfClaims() adds up the units of all GPUs", () => {
  expect(
    unitsOfClaims([
      { share: { gpus: 2, percent: 30 }, units: 30 },
      { share: { gpus: 3, memoryMb: 8000 }, units: 50 },
    ]),
  ).toBe(210);
});
