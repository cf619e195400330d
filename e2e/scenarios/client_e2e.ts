import { expect } from "bun:test";
import { leasesOf } from "../records/pool_log.ts";
import { apply, get, kubectl } from "../steps/kubectl.ts";
import { sharePod } from "../steps/pods.ts";
import { scenario } from "../steps/scenario.ts";

/** Leaves ten processes behind and ends them, waits up to 60 s until no zombies of them are left, and exits with 7. */
const LEAVE_ORPHANS = `
  cat /proc/1/comm
  for i in 1 2 3 4 5 6 7 8 9 10; do pids="$pids $(sleep 600 > /dev/null & echo $!)"; done
  count() { cat /proc/[0-9]*/comm 2> /dev/null | grep -c "^sleep$"; }
  echo "$(count) orphans"
  kill $pids
  for i in $(seq 60); do [ "$(count)" = 0 ] && break; sleep 1; done
  echo "$(count) orphans"
  exit 7`;

scenario.concurrent(
  "the client as process 1 of a container reaps orphans and exits with the command's status",
  async (namespace) => {
    const command = ["sh", "-c", LEAVE_ORPHANS];
    await apply(sharePod({ namespace, name: "orphans", num: 1, percent: 1, command }));
    const failed = "--for=jsonpath={.status.phase}=Failed";
    await kubectl("wait", "-n", namespace, "pod/orphans", failed, "--timeout=120s");
    expect(await kubectl("logs", "-n", namespace, "orphans", "-c", "main")).toContain(
      "bitfusion\n10 orphans\n0 orphans\n",
    );
    const { status } = await get<{ status: { containerStatuses: { state: unknown }[] } }>(
      "pod",
      "orphans",
      "-n",
      namespace,
    );
    expect(status.containerStatuses[0]?.state).toMatchObject({ terminated: { exitCode: 7 } });
    expect(await leasesOf(namespace, "orphans")).toHaveLength(1);
  },
);
