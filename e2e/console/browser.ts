import { type Browser, chromium } from "playwright-core";
import { buildTarget } from "../cluster/images.ts";
import { exec } from "../steps/exec.ts";
import { waitFor } from "../steps/kubectl.ts";

const IMAGE = "bitfusion-e2e-chromium:0.1.0";
const CONTAINER = "bitfusion-e2e-chromium";
/** Where the image's browser listens for the tests. */
const DEBUGGER = "http://127.0.0.1:9222";

/** Debian's Chromium in a container. Disposal removes it. */
export interface ContainedBrowser extends AsyncDisposable {
  readonly browser: Browser;
}

/** Builds the image of the browser, and starts it in the network of this machine: it reaches what the tests serve on 127.0.0.1. */
export async function startBrowser(): Promise<ContainedBrowser> {
  await buildTarget(IMAGE, "chromium");
  await exec(["docker", "rm", "--force", CONTAINER]);
  await exec(["docker", "run", "--detach", "--rm", "--network=host", "--name", CONTAINER, IMAGE]);
  const remove = () => exec(["docker", "rm", "--force", CONTAINER]);
  try {
    const answers = () =>
      fetch(`${DEBUGGER}/json/version`).then(
        ({ ok }) => ok,
        () => false,
      );
    await waitFor("the browser", answers, { timeout: 60 });
    const browser = await chromium.connectOverCDP(DEBUGGER);
    return {
      browser,
      async [Symbol.asyncDispose]() {
        await browser.close();
        await remove();
      },
    };
  } catch (error) {
    await remove();
    throw error;
  }
}
