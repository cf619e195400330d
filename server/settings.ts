import { hostname } from "node:os";
import * as v from "valibot";
import { gpuMemory } from "../kubernetes/objects/gpu_memory.ts";
import { integer, port, seconds, setting } from "../program/environment.ts";

/** The variables of a pool server. */
export const SETTINGS = {
  CONFIG_FILE: setting(
    v.optional(v.string(), "/etc/bitfusion/server.yaml"),
    "The clients and certificates of the server ([pool-servers.md](pool-servers.md)), read again when the file changes",
  ),
  PORT: setting(v.optional(port(), "56001"), "Port of the pool API"),
  GPUS: setting(v.optional(integer({ min: 0, max: 1024 }), "1"), "Number of simulated GPUs"),
  GPU_MEMORY: setting(v.optional(gpuMemory(), "16000"), "Memory of each GPU, in MB or as a quantity such as `16Gi`"),
  LEASE_TIME: setting(
    v.optional(seconds({ min: 0.1, max: 3600 }), "300"),
    "Seconds until a lease expires that the cluster's driver does not renew. A restart of the driver, the node or this server must not take longer",
  ),
  POD_LEASE_TIME: setting(
    v.optional(seconds({ min: 0.1, max: 3600 }), "15"),
    "Seconds until a lease expires that a pod took itself and does not renew",
  ),
  LEASES_FILE: setting(
    v.optional(v.string()),
    "File in which the server keeps its leases, with their secrets, so that it knows them after a restart. Default: it does not, the drivers take theirs again, and those that pods took themselves end",
  ),
  SERVER_NAME: setting(
    v.optional(v.string(), hostname),
    "The server's own name. The ids of its GPUs contain it and `PORT`, so a restart must change neither. Default: the host name",
  ),
  HAS_RDMA: setting(
    v.optional(v.picklist(["true", "false"], "expected true or false"), "false"),
    "The server's RDMA support that it reports, for filters",
  ),
  CUDA_VERSION: setting(v.optional(v.string(), "12.4"), "The CUDA version that the server reports, for filters"),
  DRIVER_VERSION: setting(
    v.optional(v.string(), "550.54.15"),
    "The version of the GPU driver that the server reports, for filters",
  ),
};
