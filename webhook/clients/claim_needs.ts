import type { Filter } from "../../pool/filter.ts";
import { dataPlaneFilters } from "../../pool/requests/data_plane.ts";
import { type ClientDefinition, isSidecarClient } from "./catalogue.ts";

/** What a client needs of a claim, whatever the pod asks for. */
export interface ClaimNeeds {
  /** The GPUs that it works with. */
  readonly filters: readonly Filter[];
  /** Whether it talks to one server: all GPUs of a container must be of that. */
  readonly oneServer: boolean;
}

export function claimNeeds(client: ClientDefinition): ClaimNeeds {
  const { dataPlane } = client;
  return {
    filters: dataPlane ? dataPlaneFilters(dataPlane) : [],
    oneServer: isSidecarClient(client), // a port of the sidecar leads to one server
  };
}
