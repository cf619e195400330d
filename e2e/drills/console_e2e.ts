import { afterAll, beforeAll, expect } from "bun:test";
import { type ContainedBrowser, startBrowser } from "../console/browser.ts";
import { openPage } from "../console/open_page.ts";
import { type Forward, forwardPage } from "../console/port_forward.ts";
import { exec } from "../steps/exec.ts";
import { apply, CLUSTER, kubectl, WORKERS } from "../steps/kubectl.ts";
import { sharePod } from "../steps/pods.ts";
import { scenario } from "../steps/scenario.ts";

const IMAGE = "bitfusion-console:0.1.0";
const KUSTOMIZATION = "e2e/cluster/console";

/** The images of the browser and the page are built, as README's commands do it. */
const START_TIMEOUT = 900_000;

/** Until a change must be seen, in ms. */
const SEEN_WITHIN = 1000;

let browser: ContainedBrowser;
let forward: Forward;

beforeAll(async () => {
  browser = await startBrowser();
  await exec(["docker", "build", "--quiet", "-f", "console/page/Dockerfile", "-t", IMAGE, "."]);
  await exec(["kind", "load", "docker-image", "--name", CLUSTER, `--nodes=${WORKERS.join(",")}`, IMAGE]);
  await kubectl("apply", "-k", KUSTOMIZATION);
  await kubectl("rollout", "status", "-n", "bitfusion-system", "deployment/bitfusion-console", "--timeout=120s");
  forward = await forwardPage();
}, START_TIMEOUT);

afterAll(async () => {
  await forward?.[Symbol.asyncDispose]();
  await browser?.[Symbol.asyncDispose]();
  await kubectl("delete", "-k", KUSTOMIZATION, "--wait=false");
});

scenario("a person sees who holds a GPU, who waits and why, and at once what changes", async (namespace) => {
  await using opened = await openPage(browser.browser, forward.url);
  const { page, screenshot, expectNoComplaint } = opened;
  const whole = {
    namespace,
    num: 1,
    percent: 100,
    filter: "server.hostname=bitfusion-pool-b",
    command: ["sleep", "600"],
  };
  const gpuHeldBy = (pod: string) =>
    page.getByRole("gridcell", {
      name: new RegExp(`^bitfusion-pool-b\\S*, .*; 100 %; held by ${namespace}/${pod} 100 %$`),
    });
  await apply(sharePod({ ...whole, name: "holder" }));
  await kubectl("wait", "-n", namespace, "pod/holder", "--for=condition=Ready", "--timeout=120s");
  await gpuHeldBy("holder").waitFor();

  await apply(sharePod({ ...whole, name: "waits" }));
  const appliedAt = performance.now();
  const queue = page.getByRole("region", { name: /^Waiting pods/ });
  const entry = queue.getByRole("listitem").filter({ hasText: `${namespace}/waits` });
  await entry.waitFor();
  const seenAfter = performance.now() - appliedAt;
  console.log(`A pod that waits is seen ${seenAfter.toFixed(0)} ms after kubectl apply`);
  expect(seenAfter).toBeLessThan(SEEN_WITHIN);
  await entry
    .getByText("needs 100 % of one GPU that matches server.hostname=bitfusion-pool-b; the freest has 0 %")
    .first()
    .waitFor();
  await screenshot("console_kind");

  await entry.getByRole("button").click();
  const way = page.getByRole("dialog", { name: `Pod ${namespace}/waits` });
  await way.getByRole("listitem").filter({ hasText: "allocation" }).filter({ hasText: "waits here" }).waitFor();
  await kubectl("delete", "pod", "holder", "-n", namespace);
  await way.getByRole("listitem").filter({ hasText: "allocation" }).filter({ hasText: "Holds 100 % of" }).waitFor();
  await way.getByRole("listitem").filter({ hasText: "They run" }).waitFor();
  await screenshot("console_kind_pod");
  await page.keyboard.press("Escape");
  await gpuHeldBy("waits").waitFor();
  expectNoComplaint();
});

scenario("the page says when its connection is lost, and goes on when it is back", async () => {
  await using opened = await openPage(browser.browser, forward.url);
  const { page } = opened;
  await forward[Symbol.asyncDispose]();
  await page.getByRole("status").getByText("Connection lost: what you see may be old").waitFor();
  expect(await page.getByRole("gridcell").count()).toBeGreaterThan(0);
  forward = await forwardPage(forward.port);
  await page.getByRole("status").getByText("Live").waitFor();
});
