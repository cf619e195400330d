import { expect, test } from "bun:test";
import { createSerially } from "./keyed_mutex.ts";

test("serially() runs one key's in order, each once the one before has ended, and other keys' at once", async () => {
  const serially = createSerially();
  const said: string[] = [];
  const first = Promise.withResolvers<void>();
  const run = (name: string, until?: Promise<void>) => async () => {
    said.push(`${name} starts`);
    await until;
    said.push(`${name} ends`);
    return name;
  };
  const runs = [
    serially("a", run("a1", first.promise)),
    serially("a", run("a2")),
    serially("b", run("b1")),
    serially("a", run("a3")),
  ];
  await runs[2];
  expect(said).toEqual(["a1 starts", "b1 starts", "b1 ends"]);
  first.resolve();
  expect(await Promise.all(runs)).toEqual(["a1", "a2", "b1", "a3"]);
  expect(said.slice(3)).toEqual(["a1 ends", "a2 starts", "a2 ends", "a3 starts", "a3 ends"]);
});

test("serially() goes on after one that throws", async () => {
  const serially = createSerially();
  const broken = serially("a", () => Promise.reject(new Error("Broken"))).catch(String);
  const next = serially("a", async () => "next");
  expect(await broken).toBe("Error: Broken");
  expect(await next).toBe("next");
});
