import { expect, test } from "bun:test";
import { ConfigError } from "../program/config_error.ts";
import { readSettings } from "./settings.ts";

test.each<[Record<string, string>, string]>([
  [{ RESOURCE_NUMS: "many" }, 'Cannot use RESOURCE_NUMS="many": expected a whole number from 1 to 100000'],
  [{ INTERVAL: "10s", RESOURCE_NUMS: "1" }, 'Cannot use INTERVAL="10s": expected seconds from 0.1 to 3600'],
  [{ POOL_SERVERS: "pool" }, 'Cannot use POOL_SERVERS="pool": expected host:port'],
  [{ RESOURCE_NAME: "gpu", RESOURCE_NUMS: "1" }, 'Cannot use RESOURCE_NAME="gpu": expected an extended resource'],
  [{ SOCKET_NAME: "../x", RESOURCE_NUMS: "1" }, 'Cannot use SOCKET_NAME="../x": expected a file name'],
  [{ POOL_SERVERS: "a:1", SERVERS_CONF: "/x" }, 'Cannot use both POOL_SERVERS="a:1" and SERVERS_CONF="/x": set one'],
  [{ SPLIT_NODES: "a,b", RESOURCE_NUMS: "1" }, 'Cannot use SPLIT_NODES="a,b" without NODE_NAME: set both or none'],
  [{ SPLIT_NODES: "a,a", NODE_NAME: "a", RESOURCE_NUMS: "1" }, 'Cannot use SPLIT_NODES="a,a": expected names of nodes'],
  [{ ALLOCATION: "both", RESOURCE_NUMS: "1" }, 'Cannot use ALLOCATION="both": expected claims or units'],
])("readSettings() refuses %j and reports what is expected", (environment, message) => {
  const read = () => readSettings(environment);
  expect(read).toThrow(ConfigError);
  expect(read).toThrow(message);
});
