import { expect, test } from "bun:test";
import { isAddress, splitAddress } from "./address.ts";

test.each([
  ["10.202.122.248:56001", true],
  ["gpu-1.example.com:1", true],
  ["gpu_1:65535", true],
  ["[fd00::1]:56001", true],
  ["[::ffff:10.0.0.1]:56001", true],
  ["10.202.122.248", false],
  [":56001", false],
  ["a:0", false],
  ["a:65536", false],
  ["a:x", false],
  ["a: 1", false],
  ["fd00::1:56001", false],
  ["http://a:80", false],
  ["a:80/x", false],
  ["", false],
])("isAddress() of %j is %j", (text, expected) => {
  expect(isAddress(text)).toBe(expected);
});

test.each([
  ["10.202.122.248:56001", { host: "10.202.122.248", port: 56_001 }],
  ["gpu-1.example.com:1", { host: "gpu-1.example.com", port: 1 }],
  ["[fd00::1]:56001", { host: "fd00::1", port: 56_001 }],
])("splitAddress() splits %s", (address, expected) => {
  expect(splitAddress(address)).toEqual(expected);
});
