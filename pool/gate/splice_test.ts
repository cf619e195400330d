import { expect, test } from "bun:test";
import { type SplicedSocket, splice } from "./splice.ts";

/** A socket that takes so many bytes until it is drained. */
function fakeSocket(room: number) {
  let left = room;
  const log: string[] = [];
  const socket: SplicedSocket = {
    write(bytes) {
      const taken = (bytes as Buffer).subarray(0, left);
      left -= taken.length;
      if (taken.length > 0) log.push(taken.toString());
      return taken.length;
    },
    pause: () => void log.push("[pause]"),
    resume: () => void log.push("[resume]"),
    shutdown: () => void log.push("[shutdown]"),
    end: () => {
      log.push("[end]");
      return 0;
    },
  };
  return {
    socket,
    log,
    makeRoom() {
      left = room;
    },
  };
}

test("splice() writes what a socket did not take when it is drained, in order, and then reads again", () => {
  const [a, b] = [fakeSocket(100), fakeSocket(3)];
  const [endA, endB] = splice(a.socket, b.socket);
  endA.data(Buffer.from("0123456"));
  endA.data(Buffer.from("789")); // read before the pause
  for (let drained = 0; drained < 4; drained++) {
    b.makeRoom();
    endB.drain();
  }
  expect(b.log).toEqual(["012", "345", "6", "78", "9"]);
  expect(a.log).toEqual(["[pause]", "[pause]", "[resume]"]);
});

test.each([
  ["the end", "end", "[shutdown]"],
  ["the close", "close", "[end]"],
] as const)("splice() passes on %s of a socket after its bytes", (_, event, effect) => {
  const [a, b] = [fakeSocket(100), fakeSocket(3)];
  const [endA, endB] = splice(a.socket, b.socket);
  endA.data(Buffer.from("0123"));
  endA[event]();
  expect(b.log).toEqual(["012"]);
  b.makeRoom();
  endB.drain();
  expect(b.log).toEqual(["012", "3", effect]);
});

test("splice() closes a socket whose peer has ended and is closed then", () => {
  const [a, b] = [fakeSocket(1), fakeSocket(1)];
  const [endA] = splice(a.socket, b.socket);
  endA.end();
  endA.close();
  expect(b.log).toEqual(["[shutdown]", "[end]"]);
});
