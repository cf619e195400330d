// An older Kubernetes has no claims by capacity. Runs first: nothing is installed before. The other files install the component for units over this.
import { expect } from "bun:test";
import { INSTALL } from "../cluster/commands.ts";
import { type ExecError, exec } from "../steps/exec.ts";
import { apply, get, kubectl, waitFor, waitForSuccess } from "../steps/kubectl.ts";
import { pod } from "../steps/pods.ts";
import { scenario } from "../steps/scenario.ts";

const REMEDY = "upgrade it, or install the kustomize component components/units";

const PROGRAMS = {
  webhook: "claims by capacity (Kubernetes 1.36 and later)",
  controller: "devices with shared capacity (Kubernetes 1.36 and later)",
};

scenario(
  "as it is, the installation is not ready, says which component to add, and disturbs no other pod",
  async (namespace) => {
    const refusal: ExecError = await exec(INSTALL.split(" ")).catch((error) => error);
    expect(refusal.output).toContain('no matches for kind "MutatingAdmissionPolicy"'); // since Kubernetes 1.36
    for (const [program, missing] of Object.entries(PROGRAMS)) {
      const deployment = `deployment/bitfusion-${program}`;
      const inNamespace = ["-n", "bitfusion-system", deployment];
      await waitFor(`${deployment} to say what is missing`, async () => {
        const log = await kubectl("logs", ...inNamespace, "--all-pods").catch(String); // its pods may not have started yet
        return log.includes(`The API server does not support ${missing}: ${REMEDY}`);
      });
      const { status } = await get<{ status: { readyReplicas?: number } }>(...inNamespace);
      expect(status.readyReplicas ?? 0).toBe(0);
    }
    await apply(pod({ namespace, name: "ordinary", containers: [{ name: "main", command: ["true"] }] }));
    await waitForSuccess(namespace, "ordinary");
  },
);
