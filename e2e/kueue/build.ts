import { buildKueueImage, downloadKueue } from "./image.ts";

/** Builds the image of Kueue before the cluster tests need it: `bun e2e/kueue/build.ts`. */
await buildKueueImage(await downloadKueue());
