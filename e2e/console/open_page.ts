import { expect } from "bun:test";
import { mkdir } from "node:fs/promises";
import type { Browser, Page } from "playwright-core";

/** The page in a browser, and what must not happen in it. Disposal closes it. */
export interface OpenPage extends AsyncDisposable {
  readonly page: Page;
  /** Expects that nothing was reported, and that all requests were for the page's own host. */
  expectNoComplaint(): void;
  /** Writes reports/<name>.png. */
  screenshot(name: string): Promise<void>;
}

/** Opens the page, and waits until it is live. */
export async function openPage(browser: Browser, url: string): Promise<OpenPage> {
  const context = await browser.newContext({ viewport: { width: 1280, height: 860 } });
  const page = await context.newPage();
  const complaints: string[] = [];
  page.on("console", (message) => void complaints.push(message.text())); // a violation of the content security policy is one
  page.on("pageerror", ({ message }) => void complaints.push(message));
  page.on("request", (request) => {
    if (new URL(request.url()).host !== new URL(url).host) complaints.push(`Request for ${request.url()}`);
  });
  await page.goto(url);
  await page.getByRole("status").getByText("Live").waitFor();
  return {
    page,
    expectNoComplaint: () => expect(complaints).toEqual([]),
    async screenshot(name) {
      await mkdir("reports", { recursive: true });
      await page.screenshot({ path: `reports/${name}.png` });
    },
    [Symbol.asyncDispose]: () => context.close(),
  };
}
