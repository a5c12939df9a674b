// Drives a headless Firefox for the Go tests, by WebDriver BiDi: commands come as
// lines of JSON on stdin and are answered in order on file descriptor 3.
//   {"op":"open","url":U} → page   {"op":"eval","page":P,"js":E} → value   {"op":"shot","page":P,"file":F}
import { writeSync } from "node:fs";
import { createInterface } from "node:readline";
import puppeteer from "puppeteer-core";

const [program, profile] = process.argv.slice(2);
const browser = await puppeteer.launch({
  browser: "firefox",
  executablePath: program,
  userDataDir: profile,
  headless: true,
  extraPrefsFirefox: {
    "media.navigator.streams.fake": true, // a tone and a picture that changes its colour
    "media.navigator.permission.disabled": true,
    "media.autoplay.default": 0,
    "media.peerconnection.ice.obfuscate_host_addresses": false,
    "media.gmp-manager.updateEnabled": false, // no download of the H.264 plug-in
    "network.captive-portal-service.enabled": false,
    "network.connectivity-service.enabled": false,
    "app.normandy.enabled": false,
    "datareporting.policy.dataSubmissionEnabled": false,
    "browser.safebrowsing.downloads.remote.enabled": false,
    "services.settings.server": "data:,",
  },
});
const pages = [];

async function run(c) {
  if (c.op === "open") {
    const page = await browser.newPage();
    await page.setViewport({ width: c.width || 900, height: c.height || 600 });
    const lines = [];
    page.on("console", (m) => lines.length < 200 && lines.push(m.type() + " " + m.text()));
    page.on("pageerror", (e) => lines.length < 200 && lines.push("exception " + e.message));
    await page.goto(c.url, { waitUntil: "domcontentloaded" });
    return pages.push({ page, lines }) - 1;
  }
  const { page, lines } = pages[c.page];
  if (c.op === "eval") return page.evaluate(c.js);
  if (c.op === "console") return lines;
  if (c.op === "shot") return void (await page.screenshot({ path: c.file }));
  throw new Error("no such command: " + c.op);
}

const say = (answer) => writeSync(3, JSON.stringify(answer) + "\n"); // stdout is a log
say({ value: await browser.version() });
for await (const line of createInterface({ input: process.stdin })) {
  let answer;
  try {
    answer = { value: (await run(JSON.parse(line))) ?? null };
  } catch (e) {
    answer = { error: String(e.message || e) };
  }
  say(answer);
}
await browser.close();
