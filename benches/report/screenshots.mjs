// Opens a report as its readers do and says whether it keeps its promises.
//
// Makes four screenshots (wide and phone, light and dark) and prints, as one line of
// JSON, the size of the page, the time until it is drawn, and the requests it made
// beyond itself. Exits with 1 if it makes a request, has an error, is 3 MB or more, takes
// 2 s or more to open, or scrolls sideways.
//
// Run:   npm install --prefix /tmp/shots playwright-core
//        NODE_PATH=/tmp/shots/node_modules node benches/report/screenshots.mjs \
//            report.html docs/book/src/howto/report-digits
// Needs: Chromium, found through the variable CHROMIUM or as /usr/bin/chromium.

import { createRequire } from 'node:module';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

// Resolved from the folder that NODE_PATH names, which `import` does not look at.
const require = createRequire(import.meta.url);
const { chromium } = require('playwright-core');

const [page, prefix, ...options] = process.argv.slice(2);
if (!page || !prefix) {
  console.error('usage: screenshots.mjs PAGE PREFIX [--whole]');
  process.exit(2);
}
// Without it a picture shows the first two screens, which is what fits into a book.
const whole = options.includes('--whole');
const url = pathToFileURL(resolve(page)).href;
const bytes = statSync(page).size;

const sizes = {
  wide: { width: 1280, height: 1600, deviceScaleFactor: 1 },
  phone: { width: 390, height: 1600, deviceScaleFactor: 1.5 },
};

/** A busy machine may refuse the first picture of a tab. */
async function picture(session, options) {
  for (let tries = 0; ; tries += 1) {
    try {
      return await session.send('Page.captureScreenshot', options);
    } catch (error) {
      if (tries === 3) throw error;
    }
  }
}

const problems = [];
const results = { page, bytes, requests: 0, open_ms: {} };
const profile = mkdtempSync(join(tmpdir(), 'report-'));
const browser = await chromium.launchPersistentContext(profile, {
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: [
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
  ],
});
for (const [size, viewport] of Object.entries(sizes)) {
  for (const scheme of ['light', 'dark']) {
    const tab = await browser.newPage();
    const session = await browser.newCDPSession(tab);
    await session.send('Emulation.setDeviceMetricsOverride', {
      ...viewport,
      mobile: size === 'phone',
    });
    await tab.emulateMedia({ colorScheme: scheme });
    tab.on('request', (request) => {
      const own = request.url() === url || request.url().startsWith('data:');
      if (!own) {
        results.requests += 1;
        problems.push(`request for ${request.url()}`);
      }
    });
    tab.on('console', (message) => {
      if (message.type() === 'error') problems.push(message.text());
    });
    tab.on('pageerror', (error) => problems.push(String(error)));
    tab.on('dialog', (dialog) => {
      problems.push(`dialog: ${dialog.message()}`);
      dialog.dismiss();
    });
    const began = performance.now();
    await tab.goto(url, { waitUntil: 'load' });
    // The first frame after everything is laid out.
    await picture(session, { format: 'jpeg', quality: 10 });
    const took = Math.round(performance.now() - began);
    results.open_ms[`${size}-${scheme}`] = took;
    if (took >= 2000) problems.push(`${size}, ${scheme}: ${took} ms to open`);
    const { result } = await session.send('Runtime.evaluate', {
      expression: 'document.documentElement.scrollWidth - innerWidth',
      returnByValue: true,
    });
    if (result.value > 0) problems.push(`${size}: ${result.value} pixels too wide`);
    const file = `${prefix}-${size}-${scheme}.png`;
    const metrics = await session.send('Page.getLayoutMetrics');
    const height = whole ? metrics.cssContentSize.height : viewport.height;
    const shot = await picture(session, {
      format: 'png',
      captureBeyondViewport: true,
      clip: { x: 0, y: 0, width: viewport.width, height, scale: 1 },
    });
    writeFileSync(file, Buffer.from(shot.data, 'base64'));
    await tab.close();
  }
}
await browser.close();
rmSync(profile, { recursive: true, force: true });
if (bytes >= 3_000_000) problems.push(`${bytes} bytes`);
console.log(JSON.stringify({ ...results, problems }));
process.exit(problems.length ? 1 : 0);
