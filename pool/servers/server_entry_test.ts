import { expect, test } from "bun:test";
import * as v from "valibot";
import { EXPECTED_SERVERS, poolServers, type ServerEntry } from "./server_entry.ts";

const ZONE = "topology.kubernetes.io/zone";

test.each<[text: string, entries: ServerEntry[]]>([
  ["a:1", [{ address: "a:1" }]],
  [" a:1 , [fd00::1]:2,a:1", [{ address: "a:1" }, { address: "[fd00::1]:2" }]],
  [`a:1 ${ZONE}=a  rack=r-1,b:1`, [{ address: "a:1", nodes: { [ZONE]: "a", rack: "r-1" } }, { address: "b:1" }]],
  ["a:1 empty=", [{ address: "a:1", nodes: { empty: "" } }]],
  ["a:1 x=1 y=2,a:1 y=2 x=1", [{ address: "a:1", nodes: { x: "1", y: "2" } }]],
])("poolServers() parses %s", (text, entries) => {
  expect(v.parse(poolServers(), text)).toEqual(entries);
});

test.each<[text: string]>([
  [""],
  ["a"],
  ["a:1,"],
  ["a:1 zone"],
  ["a:1 zone=a=b"],
  ["a:1 zone=a zone=b"],
  ["a:1 -zone=a"],
  ["a:1 /zone=a"],
  ["a:1 x/y/zone=a"],
  ["a:1 Example.com/zone=a"],
  [`a:1 ${"x".repeat(64)}=a`],
  [`a:1 zone=${"x".repeat(64)}`],
  ["a:1 a= b= c= d= e= f= g= h= i="],
  ["a:1 zone=a,a:1 zone=b"],
  ["a:1 zone=a,a:1"],
])("poolServers() refuses %j", (text) => {
  const result = v.safeParse(poolServers(), text);
  expect(result.issues?.map(({ message }) => message)).toEqual([EXPECTED_SERVERS]);
});
