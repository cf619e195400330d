// The page on the recorded cluster of 1,000 GPUs. It needs no cluster but the image of the browser.
import { afterAll, beforeAll, expect, test } from "bun:test";
import axe from "axe-core";
import type { ResourceSlice } from "../../kubernetes/objects/resource_slice.ts";
import { type ContainedBrowser, startBrowser } from "../console/browser.ts";
import { openPage } from "../console/open_page.ts";
import { type RecordedPage, startRecordedPage } from "../console/recorded_page.ts";
import { traceUpdates } from "../console/trace.ts";

/** The image of the browser is large. */
const START_TIMEOUT = 600_000;

/** How long a frame lasts, in ms: an update must fit in it. */
const FRAME = 16;

/** Until a change must be seen, in ms. */
const SEEN_WITHIN = 1000;

let browser: ContainedBrowser;
let recorded: RecordedPage;

beforeAll(async () => {
  browser = await startBrowser();
  recorded = await startRecordedPage();
}, START_TIMEOUT);

afterAll(async () => {
  await recorded?.[Symbol.asyncDispose]();
  await browser?.[Symbol.asyncDispose]();
});

/** What a screen reader calls the element that has the focus. */
const FOCUSED = "document.activeElement.getAttribute('aria-label')";

/** Of a machine that does other work, too, single values say little. */
function medianOf(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}

const open = () => openPage(browser.browser, recorded.url);

/** The first slice with an unhealthy GPU, by the index of its device. */
function withUnhealthy(index: number): ResourceSlice {
  const slice = structuredClone(recorded.cluster.slices[0]) as ResourceSlice;
  const devices = (slice.spec.devices ?? []).map((device, each) =>
    each === index
      ? {
          ...device,
          taints: [{ key: "bitfusion.io/unhealthy", effect: "NoSchedule", timeAdded: "2026-11-29T12:00:00Z" } as const],
        }
      : device,
  );
  return { ...slice, spec: { ...slice.spec, devices } };
}

test("a person sees 125 servers, 1,000 GPUs, who holds them, and who waits and why", async () => {
  await using opened = await open();
  const { page, screenshot, expectNoComplaint } = opened;
  await page.getByRole("heading", { name: "Servers and GPUs 125" }).waitFor();
  const grid = page.getByRole("grid", { name: /^Servers and GPUs/ });
  expect(await grid.getByRole("row").count()).toBe(125);
  expect(await grid.getByRole("gridcell").count()).toBe(1000);
  expect(await grid.getByRole("gridcell", { name: / · away;/ }).count()).toBe(24);
  expect(await grid.getByRole("gridcell", { name: / · draining;/ }).count()).toBe(32);
  expect(await grid.getByRole("gridcell", { name: / · unhealthy;/ }).count()).toBe(12);
  await grid.getByRole("gridcell", { name: /^gpu-001\/0, Simulated GPU; 100 %; held by \S+\/\S+ 100 %$/ }).waitFor();
  const queue = page.getByRole("region", { name: "Waiting pods 67" });
  expect(await queue.getByRole("listitem").count()).toBe(67);
  expect(await queue.getByRole("listitem").first().textContent()).toContain(
    "needs 100 % of each of 8 different GPUs; only 5 have that now",
  );
  const refused = page.getByRole("region", { name: "Refused pods 1" });
  expect(await refused.textContent()).toContain("Job vision/sweep, 7 times");
  await screenshot("console_light");
  await page.emulateMedia({ colorScheme: "dark" });
  await screenshot("console_dark");
  expectNoComplaint();
});

test("a keyboard reaches a GPU, its holder and the way of that pod, and comes back", async () => {
  await using opened = await open();
  const { page, expectNoComplaint } = opened;
  await page.getByRole("searchbox", { name: "Find a server, GPU, namespace or pod" }).focus();
  await page.keyboard.press("Tab");
  for (const key of ["ArrowRight", "ArrowDown", "Home", "End", "ArrowUp"]) await page.keyboard.press(key);
  expect(await page.evaluate(FOCUSED)).toStartWith("gpu-001/7,");
  await page.keyboard.press("Enter");
  const dialog = page.getByRole("dialog", { name: "GPU gpu-001/7" });
  expect(await dialog.textContent()).toContain("100 held, 0 free, 0 not given to new pods");
  await dialog.getByRole("button", { name: "vision/serve-0" }).press("Enter");
  const way = page.getByRole("dialog", { name: "Pod vision/serve-0" });
  const steps = way.getByRole("listitem");
  await steps.filter({ hasText: "Admitted" }).waitFor();
  expect(await steps.count()).toBe(6);
  expect(await steps.first().textContent()).toContain("Admitted with 800 units of bitfusion.io/gpu");
  await page.keyboard.press("Escape");
  expect(await page.getByRole("dialog").count()).toBe(0);
  expect(await page.evaluate(FOCUSED)).toStartWith("gpu-001/7,");
  expectNoComplaint();
});

test("a person finds the GPUs of a pod, and those of a namespace", async () => {
  await using opened = await open();
  const { page } = opened;
  const rows = page.getByRole("grid").getByRole("row");
  await page.getByRole("searchbox").fill("vision/serve-0");
  await page.getByRole("heading", { name: "Servers and GPUs 1 of 125" }).waitFor();
  expect(await rows.count()).toBe(1);
  await page.getByRole("region", { name: "Who holds units" }).getByRole("button", { name: "speech" }).click();
  await page.getByRole("heading", { name: /^Servers and GPUs \d+ of 125$/ }).waitFor();
  expect(await page.getByRole("searchbox").inputValue()).toBe("speech/");
});

test("nothing is wider than the screen of a phone", async () => {
  await using opened = await open();
  const { page, screenshot } = opened;
  await page.setViewportSize({ width: 360, height: 740 });
  await page.getByRole("gridcell").first().click();
  await page.getByRole("dialog").waitFor();
  await screenshot("console_phone_gpu");
  await page.keyboard.press("Escape");
  const widths = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]";
  const [content, screen] = (await page.evaluate(widths)) as [number, number];
  expect(content).toBe(screen);
  await screenshot("console_phone");
});

test("a checker of accessibility finds nothing, in light and in dark", async () => {
  await using opened = await open();
  const { page } = opened;
  await page.getByRole("searchbox").fill("gpu-01"); // ten servers are enough, with GPUs of several states
  await page.evaluate(axe.source);
  for (const colorScheme of ["light", "dark"] as const) {
    await page.emulateMedia({ colorScheme });
    const { violations } = (await page.evaluate("axe.run()")) as {
      violations: { id: string; nodes: { html: string }[] }[];
    };
    expect(violations.map(({ id, nodes }) => `${colorScheme}: ${id}: ${nodes[0]?.html}`)).toEqual([]);
  }
});

test("texts of tenants are shown as they are, and never run", async () => {
  await using opened = await open();
  const { page, expectNoComplaint } = opened;
  const hostile = '<img src=x onerror="document.title=1"><script>document.title=2</script>';
  const [waiting] = recorded.cluster.pods.filter(({ spec }) => spec.nodeName === undefined);
  const { namespace = "", name = "", uid = "" } = waiting?.metadata ?? {};
  const event = {
    metadata: { namespace, name: "hostile" },
    involvedObject: { kind: "Pod", namespace, name, uid },
    type: "Warning",
    reason: "Hostile",
    message: hostile,
    lastTimestamp: "2030-01-01T00:00:00Z",
  };
  recorded.put("events", event);
  await page.getByText(hostile).waitFor();
  expect([await page.title(), await page.locator("img").count()]).toEqual(["GPU pool", 0]);
  recorded.remove("events", event);
  await page.getByText(hostile).waitFor({ state: "detached" });
  expectNoComplaint();
});

test("a change is on the screen within a second", async () => {
  await using opened = await open();
  const { page } = opened;
  const times: number[] = [];
  for (let index = 0; index < 5; index++) {
    const cell = page.getByRole("gridcell", { name: new RegExp(`^gpu-001/${index},.* · unhealthy;`) });
    const start = performance.now();
    recorded.put("slices", withUnhealthy(index));
    await cell.waitFor();
    times.push(performance.now() - start);
  }
  console.log(`A change is seen after ${times.map((time) => time.toFixed(0)).join(", ")} ms`);
  expect(medianOf(times)).toBeLessThan(SEEN_WITHIN);
});

test("script and layout of an update of 1,000 GPUs fit in a frame", async () => {
  await using opened = await open();
  const { page } = opened;
  const times = await traceUpdates(browser.browser, page, async () => {
    for (let index = 0; index < 30; index++) {
      recorded.put("slices", withUnhealthy(index % 8));
      await page.getByRole("gridcell", { name: new RegExp(`^gpu-001/${index % 8},.* · unhealthy;`) }).waitFor();
      await Bun.sleep(100);
    }
  });
  const median = medianOf(times);
  console.log(
    `An update takes ${median.toFixed(1)} ms: ${(median / FRAME).toFixed(2)} of the limit, of ${times.length} updates`,
  );
  expect(times.length).toBeGreaterThanOrEqual(20);
  expect(median).toBeLessThan(FRAME);
});
