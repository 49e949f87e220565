// Watches a study as a reader does, and says what that took.
//
// Opens the page of `atoll watch`, goes to the first study, waits for pictures and then for the
// end of the study. Makes screenshots (wide and phone, light and dark) and prints, as one line
// of JSON, the seconds, the requests, those to anywhere else, bytes, events and errors. Exits
// with 1 if the page asked somebody else, had an error, or scrolls sideways.
//
// Run:   npm install --prefix /tmp/shots playwright-core
//        NODE_PATH=/tmp/shots/node_modules node benches/watch/run.mjs ADDRESS PREFIX
//        and start a study on the storage that is watched; ADDRESS is what was printed
// Needs: Chromium, found through the variable CHROMIUM or as /usr/bin/chromium.

import { createRequire } from 'node:module';

// Resolved from the folder that NODE_PATH names, which `import` does not look at.
const require = createRequire(import.meta.url);
const { chromium } = require('playwright-core');

const [address, prefix] = process.argv.slice(2);
if (!address || !prefix) {
  console.error('usage: run.mjs ADDRESS PREFIX');
  process.exit(2);
}
const minutes = (n) => ({ timeout: n * 60_000 });
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox'],
});
const context = await browser.newContext({ viewport: { width: 1280, height: 1400 } });
const page = await context.newPage();
const protocol = await context.newCDPSession(page);
await protocol.send('Network.enable');
const seen = { requests: 0, elsewhere: 0, bytes: 0, events: 0, errors: [] };
protocol.on('Network.dataReceived', (data) => { seen.bytes += data.dataLength; });
protocol.on('Network.eventSourceMessageReceived', () => { seen.events += 1; });
page.on('request', (request) => {
  seen.requests += 1;
  if (new URL(request.url()).origin !== new URL(address).origin) seen.elsewhere += 1;
});
page.on('console', (message) => message.type() === 'error' && seen.errors.push(message.text()));
page.on('pageerror', (error) => seen.errors.push(String(error)));

const began = Date.now();
await page.goto(address);
await page.waitForSelector('a[href^="/study/"]', minutes(2));
await page.click('a[href^="/study/"]');
await page.waitForFunction(() => document.querySelectorAll('main figure').length > 4, null, minutes(4));
await page.screenshot({ path: `${prefix}-running.png` });
const line = () => page.textContent('#live-line');
const then = await line();
await page.waitForFunction(
  () => /^(finished|stopped|failed|lost)/.test(document.getElementById('live-line').textContent),
  null,
  minutes(8),
);
// The last pictures follow the last event.
await page.waitForTimeout(4000);
const seconds = (Date.now() - began) / 1000;

const tree = await protocol.send('Accessibility.getFullAXTree');
const roles = new Set(tree.nodes.map((node) => node.role?.value));
const lacks = ['banner', 'main', 'navigation', 'status', 'progressbar'].filter((role) => !roles.has(role));
let sideways = 0;
for (const [name, width, colorScheme] of [
  ['wide-light', 1280, 'light'],
  ['wide-dark', 1280, 'dark'],
  ['phone-light', 390, 'light'],
  ['phone-dark', 390, 'dark'],
]) {
  await page.emulateMedia({ colorScheme });
  await page.setViewportSize({ width, height: 1400 });
  await page.reload();
  await page.screenshot({ path: `${prefix}-${name}.png` });
  sideways += await page.evaluate(() => document.documentElement.scrollWidth > window.innerWidth);
}
console.log(JSON.stringify({ seconds, ...seen, then, last: await line(), lacks, sideways }));
await browser.close();
process.exit(seen.elsewhere || seen.errors.length || lacks.length || sideways ? 1 : 0);
