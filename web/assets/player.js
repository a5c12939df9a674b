// The player page: one loop that connects, waits, plays and comes back.
import { WHEP } from "./whep.js";
import { HLS } from "./hls.js";

const $ = (id) => document.getElementById(id);
const stage = $("stage");
const video = $("video");
const params = new URLSearchParams(location.search);
const name = params.get("stream") || "";
const mode = params.get("mode") || "auto"; // auto, webrtc or hls

const titles = { idle: "Idle", connecting: "Connecting", waiting: "Waiting", playing: "Playing", stopped: "Stopped", error: "Error" };

function show(state, headline = "", detail = "") {
  stage.dataset.state = state;
  $("status").textContent = titles[state];
  $("headline").textContent = headline;
  $("detail").textContent = detail;
  $("retry").hidden = !(state === "error" || state === "stopped");
  $("retry").textContent = state === "stopped" ? "Play" : "Try again";
  const on = state === "playing" || state === "connecting" || state === "waiting";
  $("play").dataset.on = on;
  $("play").setAttribute("aria-label", on ? "Stop" : "Play");
  $("play").title = (on ? "Stop" : "Play") + " (k)";
  if (state !== "playing") $("stats").textContent = "";
}

function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const t = setTimeout(resolve, seconds * 1000);
    signal.addEventListener("abort", () => { clearTimeout(t); reject(signal.reason); });
  });
}

// ---- sound ----

let wantMuted = params.get("muted") === "1";

function showSound() {
  $("mute").dataset.on = !video.muted;
  $("mute").setAttribute("aria-pressed", video.muted);
  $("mute").setAttribute("aria-label", video.muted ? "Unmute" : "Mute");
  $("unmute").hidden = !(video.muted && !wantMuted);
  $("volume").value = video.muted ? 0 : Math.round(video.volume * 100);
}

function setMuted(muted) {
  wantMuted = muted;
  video.muted = muted;
  if (!muted && video.volume === 0) video.volume = 1;
  showSound();
}

// Browsers let a page make sound only after the visitor touched it: if they
// refuse, play without sound and say so.
async function startVideo() {
  video.muted = wantMuted;
  try {
    await video.play();
  } catch (e) {
    if (e.name !== "NotAllowedError") return;
    video.muted = true;
    await video.play().catch(() => {});
  }
}
video.onvolumechange = showSound;

// ---- one session ----

const codecNames = { h264: "H.264", avc1: "H.264", vp8: "VP8", opus: "Opus", pcma: "G.711 A", pcmu: "G.711 µ", mp4a: "AAC" };
const codecName = (c) => c && (codecNames[c.split(".")[0].toLowerCase()] || c);

function line(s) {
  const parts = [];
  if (s.videoCodec) parts.push(codecName(s.videoCodec));
  if (s.audioCodec) parts.push(codecName(s.audioCodec));
  if (s.width) parts.push(`${s.width}×${s.height}`);
  if (s.fps > 0) parts.push(`${Math.round(s.fps)} fps`);
  if (s.bits) parts.push(s.bits > 1e6 ? `${(s.bits / 1e6).toFixed(2)} Mbit/s` : `${Math.round(s.bits / 1000)} kbit/s`);
  if (s.lost) parts.push(`${s.lost} lost`);
  if (s.behind) parts.push(`${s.behind.toFixed(1)} s behind`);
  return parts.join(" · ");
}

// play runs one connection until it ends; it resolves when it was lost after
// it had played, and throws when it never did.
async function play(kind, signal) {
  let lost;
  const ended = new Promise((resolve) => (lost = resolve));
  const source = kind === "hls" ? new HLS(name, video, lost) : new WHEP(name, lost);
  signal.addEventListener("abort", lost);
  let timer, frame;
  try {
    // Before the first packet comes: sound that nothing plays yet piles up in the
    // browser's jitter buffer, and is late for seconds.
    source.answered = () => {
      video.srcObject = source.stream;
      startVideo();
    };
    await source.open(signal);
    $("via").textContent = kind === "hls" ? "HLS" : "WebRTC";
    if (!source.stream) startVideo();
    const playing = () => {
      if (stage.dataset.state !== "playing") show("playing");
    };
    video.onplaying = playing;
    let silent = 0;
    let seen = false;
    timer = setInterval(async () => {
      const s = await source.stats().catch(() => null);
      if (!s) return;
      if (s.packets > 0) playing(); // sound alone does not start every video element
      silent = s.packets > 0 ? 0 : silent + 1;
      if (silent === 20) lost(); // the connection stands but nothing comes
      else if (silent > 0 && silent % 3 === 0 && (await source.gone(silent))) lost();
      seen ||= s.width > 0 || s.frames > 0;
      const audioOnly = !source.hasVideo() || (!seen && silent === 0 && stage.dataset.state === "playing");
      $("audio").hidden = !audioOnly;
      if (stage.dataset.state === "playing") $("stats").textContent = silent > 2 ? "No media for " + silent + " s" : line(s);
    }, 1000);
    frame = bars(source);
    await ended;
    signal.throwIfAborted();
  } finally {
    clearInterval(timer);
    cancelAnimationFrame(frame?.id);
    video.onplaying = null;
    source.close();
    video.srcObject = null;
    $("via").textContent = "";
    $("audio").hidden = true;
  }
}

// bars moves the audio picture with the loudness.
function bars(source) {
  const box = document.querySelector(".bars");
  const items = [...box.children];
  const state = { id: 0 };
  let level = 0;
  const step = (t) => {
    state.id = requestAnimationFrame(step);
    if ($("audio").hidden) return;
    const now = source.level();
    box.classList.toggle("blind", now < 0);
    if (now < 0) return;
    level = Math.max(Math.min(Math.sqrt(now) * 1.3, 1), level * 0.94);
    items.forEach((bar, i) => {
      const shape = 1 - Math.abs(i - 3) * 0.2;
      bar.style.transform = `scaleY(${Math.max(0.08, level * shape * (0.75 + 0.25 * Math.sin(t / 90 + i * 1.9)))})`;
    });
  };
  step(0);
  return state;
}

// ---- the loop ----

let control = null;

async function run() {
  control?.abort(new DOMException("stopped", "AbortError"));
  const own = (control = new AbortController());
  const { signal } = own;
  if (!name) return show("error", "No stream chosen", "Open this page as /player?stream=NAME.");
  let kind = mode === "hls" ? "hls" : "webrtc";
  let played = false;
  let tries = 0;
  let cause = "";
  show("connecting", "Connecting…");
  try {
    for (;;) {
      try {
        await play(kind, signal);
        played = true;
        tries = 0;
        show("connecting", "Reconnecting…", "The connection was lost or the stream has ended.");
        await pause(0.5, signal);
        if (mode === "auto") kind = "webrtc";
      } catch (e) {
        signal.throwIfAborted();
        switch (e.kind) {
          case "wait":
            show("waiting", "Waiting for the call to be answered…", e.message);
            await pause(e.retryAfter, signal);
            break;
          case "busy":
            show("waiting", "The server is busy", e.message);
            await pause(e.retryAfter + tries++, signal);
            break;
          case "missing":
            if (played) return ended(signal);
            show("waiting", "Waiting for the stream…", `There is no stream “${name}” yet. It plays as soon as there is one.`);
            await pause(3, signal);
            break;
          case "network": {
            const seconds = Math.min(2 ** tries++, 15);
            show("connecting", "Reconnecting…", `${e.message}. Next try in ${seconds} s.`);
            await pause(seconds, signal);
            break;
          }
          case "refused":
            if (mode === "auto" && kind === "webrtc") {
              cause = e.message;
              kind = "hls";
              show("connecting", "Connecting…", "WebRTC does not work here, trying HLS.");
              break;
            }
            throw e;
          default:
            throw e;
        }
      }
    }
  } catch (e) {
    if (signal.aborted) return;
    const known = ["refused", "unsupported", "forbidden"].includes(e.kind);
    const why = e.message + (cause && cause !== e.message ? `. WebRTC before it: ${cause}` : "");
    show("error", e.kind === "forbidden" ? "The server does not allow this" : known ? "This stream cannot be played" : "The player failed", why);
  }
}

// ended keeps looking quietly: calls to the same name come back.
async function ended(signal) {
  show("stopped", "The stream has ended", "It plays again when it comes back.");
  for (;;) {
    await pause(4, signal);
    const res = await fetch("/whep/" + encodeURIComponent(name), { method: "POST", headers: { "Content-Type": "application/sdp" }, body: "", signal }).catch(() => null);
    if (res && res.status !== 404) return run();
  }
}

function stop() {
  control?.abort(new DOMException("stopped", "AbortError"));
  show("stopped", "Stopped");
}

// ---- controls ----

const isOn = () => $("play").dataset.on === "true";
const toggle = () => (isOn() ? stop() : run());
const fullScreen = () => {
  if (document.fullscreenElement) document.exitFullscreen();
  else if (stage.requestFullscreen) stage.requestFullscreen().catch(() => {});
  else video.webkitEnterFullscreen?.(); // iPhone: only the video itself can
};

$("play").onclick = toggle;
$("retry").onclick = run;
$("mute").onclick = () => setMuted(!video.muted);
$("unmute").onclick = () => setMuted(false);
$("full").onclick = fullScreen;
if (!document.fullscreenEnabled && !video.webkitEnterFullscreen) $("full").hidden = true;
$("volume").oninput = (e) => {
  video.volume = e.target.value / 100;
  video.muted = wantMuted = video.volume === 0;
  showSound();
};
document.onfullscreenchange = () => $("full").setAttribute("aria-label", document.fullscreenElement ? "Leave full screen" : "Full screen");
document.onkeydown = (e) => {
  if (e.ctrlKey || e.metaKey || e.altKey || e.target.matches("input")) return;
  const act = { k: toggle, m: () => setMuted(!video.muted), f: fullScreen }[e.key.toLowerCase()];
  if (act) act();
};

let idle;
const wake = () => {
  stage.classList.remove("idle-pointer");
  clearTimeout(idle);
  idle = setTimeout(() => stage.classList.add("idle-pointer"), 3500);
};
for (const e of ["pointermove", "pointerdown", "keydown", "focusin"]) document.addEventListener(e, wake);

addEventListener("pagehide", () => control?.abort(new DOMException("left", "AbortError")));
addEventListener("pageshow", (e) => e.persisted && run());

document.title = name ? `${name} – lineout` : "lineout player";
$("name").textContent = name;
showSound();
wake();
if (params.get("autoplay") === "0") show("stopped", "Ready");
else run();
