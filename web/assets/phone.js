// The phone page: signing in, dialling, and the calls.
import { Line } from "./line.js";
import { Tones } from "./tones.js";

const $ = (id) => document.getElementById(id);
const params = new URLSearchParams(location.search);
const tones = new Tones();
const saved = read("lineout.phone") || {};
let current = null; // the call that is shown
let ringing = []; // calls to us that wait for an answer
let ticking = 0;

function read(key) {
  try {
    return JSON.parse(localStorage.getItem(key));
  } catch {
    return null; // no storage, or not ours
  }
}

function write(key, value) {
  try {
    localStorage.setItem(key, JSON.stringify(value));
  } catch { /* private windows */ }
}

function notice(text) {
  $("notice").textContent = text;
  $("notice").hidden = !text;
}

// ---- the line ----

const words = { offline: "Signed out", connecting: "Connecting…", registering: "Registering…", ready: "Ready", registered: "Registered", lost: "Reconnecting…", failed: "Not signed in" };

const line = new Line({
  state(name, detail) {
    document.body.dataset.line = name;
    $("line").textContent = words[name];
    if (name === "failed") notice(detail);
    else if (name === "registered" || name === "ready") notice("");
    const on = ["registered", "ready", "lost"].includes(name) || (name === "connecting" && line.token);
    $("leave").hidden = !on;
    $("who").textContent = on ? line.account.name || line.account.login : "Phone";
    show();
  },
  incoming: arrive,
});

const fields = ["login", "authName", "domain", "proxy", "port", "name"];
const form = $("account");
form.elements.domain.value = location.hostname;
for (const f of fields) form.elements[f].value = params.get(f) || saved[f] || form.elements[f].value;
form.elements.register.checked = params.has("register") ? params.get("register") !== "0" : saved.register !== false;
if (params.has("number")) $("number").value = params.get("number");

form.onsubmit = async (e) => {
  e.preventDefault();
  const a = { url: (location.protocol === "https:" ? "wss://" : "ws://") + location.host, password: form.elements.password.value, register: form.elements.register.checked };
  for (const f of fields) a[f] = form.elements[f].value.trim();
  write("lineout.phone", { ...saved, ...a, password: undefined, url: undefined });
  notice("");
  form.querySelector("[type=submit]").disabled = true;
  try {
    await line.open(a);
    $("number").focus();
  } catch { /* said by the line's state */ } finally {
    form.querySelector("[type=submit]").disabled = false;
  }
};

$("leave").onclick = () => line.close();

// ---- what is shown ----

const active = () => [...line.calls.values()].filter((c) => !ringing.includes(c));

function show() {
  const signed = !$("leave").hidden;
  const talking = current && !current.over;
  document.body.dataset.view = talking ? "talk" : signed ? "dial" : "account";
  form.hidden = signed || talking;
  $("dialler").hidden = !signed || talking;
  $("talk").hidden = !talking;
  recent();
  if (!talking) return;
  const c = current;
  const up = c.status === "ESTABLISHED" || c.status === "HOLD";
  $("peer").textContent = c.name || c.peer;
  $("initial").textContent = (c.name || c.peer).slice(0, 1).toUpperCase();
  $("status").textContent = describe(c);
  $("talk").dataset.video = up && c.hasVideo && c.stream.getVideoTracks().some((t) => !t.muted);
  const own = c.local?.getVideoTracks()[0];
  $("self").hidden = !own || c.camOff;
  $("cam").hidden = !own;
  press("mic", c.micOff, "Unmute", "Mute");
  press("cam", c.camOff, "Camera on", "Camera");
  press("holdb", c.held || c.asking === "hold", "Resume", "Hold");
  for (const id of ["holdb", "keys", "move"]) $(id).disabled = !up;
  $("holdb").disabled = !up || c.asking;
  const others = active().filter((o) => o !== c);
  $("others").hidden = others.length === 0;
  $("others").replaceChildren(...others.map((o) => {
    const li = document.createElement("li");
    const b = document.createElement("button");
    b.type = "button";
    b.textContent = `${o.name || o.peer} · ${describe(o)}`;
    b.onclick = () => turn(o);
    li.append(b);
    return li;
  }));
}

function press(id, on, yes, no) {
  $(id).setAttribute("aria-pressed", !!on);
  $(id).querySelector("span").textContent = on ? yes : no;
}

function describe(c) {
  switch (c.status) {
    case "NEW": case "PENDING": return c.incoming ? "Connecting…" : "Calling…";
    case "TRYING": return "Calling…";
    case "RING": return "Ringing…";
    case "RING_MEDIA": case "SESSION_PROGRESS": return "Ringing…";
    case "HOLD": return c.held ? "On hold" : "Put on hold by the other side";
    case "ESTABLISHED": {
      const s = Math.floor((Date.now() - c.began) / 1000);
      return [Math.floor(s / 3600), Math.floor(s / 60) % 60, s % 60].slice(s < 3600 ? 1 : 0).map((n) => String(n).padStart(2, "0")).join(":");
    }
  }
  return c.status;
}

// attach shows a call's sound and picture.
function attach(c) {
  if (c !== current) return;
  if ($("remote").srcObject !== c.stream) $("remote").srcObject = c.stream;
  const sound = $("sound");
  if (sound.srcObject !== c.stream) sound.srcObject = c.stream;
  $("remote").muted = true; // one element only is heard
  sound.play().catch(() => {});
  $("remote").play().catch(() => {});
  if ($("self").srcObject !== c.local) $("self").srcObject = c.local || null;
  show();
}

// turn shows another call; of two that talk one is held.
function turn(c) {
  const before = current;
  if (before && before !== c && !before.over && before.status === "ESTABLISHED") hold(before, true);
  current = c;
  for (const id of ["tonepad", "moveto", "devices"]) $(id).hidden = true;
  for (const id of ["keys", "move", "gear"]) $(id).setAttribute("aria-pressed", false);
  $("quality").hidden = true;
  if (c?.held) hold(c, false);
  if (c) attach(c);
  show();
}

// ---- calls ----

const audio = () => ({ echoCancellation: true, noiseSuppression: true, autoGainControl: true, ...(saved.mic && { deviceId: saved.mic }) });
const video = () => ({ width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: 30 }, ...(saved.cam && { deviceId: saved.cam }) });
const devices = (withVideo) => ({ audio: audio(), video: withVideo ? video() : false });

function watch(c) {
  c.on = {
    status(s) {
      if (!c.incoming && (s === "RING" || s === "TRYING") && c === current && !c.stream.getTracks().length) s === "RING" && tones.start("ringback");
      else if (tones.name === "ringback" && c === current) tones.stop();
      if (s === "ESTABLISHED") {
        if (c.asking !== "hold") c.asking = c.held = ""; // what crossed our wish says nothing of it
        keep(c, true);
      }
      if (s === "HOLD") {
        if (c.asking === "hold") c.held = true;
        c.asking = "";
      }
      show();
    },
    media() {
      if (tones.name === "ringback" && c === current && c.status !== "RING") tones.stop();
      attach(c);
    },
    transfer(s) {
      if (c === current) notice(s === "COMPLETED" ? "" : "Transfer: " + s.toLowerCase());
    },
    end(status, reason, code) {
      ringing = ringing.filter((o) => o !== c);
      keep(c, c.began > 0);
      if (c === current) {
        tones.stop();
        if (status === "FAILED") {
          if (!c.incoming) tones.start("busy");
          notice(why(c, reason, code));
        }
        const next = active().at(-1);
        current = null;
        $("remote").srcObject = $("sound").srcObject = $("self").srcObject = null;
        if (next) turn(next);
      }
      rings();
      show();
    },
  };
}

// why a call failed, in words.
function why(c, reason, code) {
  const known = { 403: "is not allowed", 404: "does not exist", 408: "did not answer", 480: "cannot be reached now", 486: "is busy", 488: "shares no codec with us", 600: "is busy", 603: "declined" };
  const name = c.name || c.peer;
  if (known[code]) return `${name} ${known[code]} (SIP ${code})`;
  return `The call with ${name} failed` + (reason ? ": " + reason : "") + (code ? ` (SIP ${code})` : "");
}

async function dial(peer, withVideo) {
  peer = peer.trim();
  if (!peer) return $("number").focus();
  notice("");
  try {
    if (current?.status === "ESTABLISHED") hold(current, true);
    const starting = line.call(peer, devices(withVideo));
    const c = [...line.calls.values()].at(-1);
    watch(c);
    current = c;
    $("number").value = "";
    typed();
    show();
    await starting;
    attach(c);
    list();
  } catch (e) {
    notice(e.message);
  }
}

function hold(c, on) {
  if (c.asking || !!c.held === on) return;
  c.asking = on ? "hold" : "unhold";
  c.hold(on);
  show();
}

function arrive(c) {
  ringing.push(c);
  watch(c);
  rings();
}

// rings shows the call to us that waits longest.
function rings() {
  const c = ringing[0];
  const box = $("ring");
  if (!c) {
    if (box.open) box.close();
    if (tones.name === "ring") tones.stop();
    document.title = "lineout phone";
    return;
  }
  $("ringkind").textContent = c.offersVideo ? "Video call from" : "Call from";
  $("ringer").textContent = c.name || c.peer;
  $("ringnumber").textContent = c.name && c.name !== c.peer ? c.peer : "";
  $("answervideo").hidden = !c.offersVideo;
  document.title = "☎ " + (c.name || c.peer);
  if (!box.open) box.showModal();
  $("answer").focus();
  if (!current) tones.start("ring");
}

async function answer(withVideo) {
  const c = ringing.shift();
  if (!c) return;
  tones.stop();
  rings();
  turn(c);
  try {
    await c.answer(devices(withVideo));
    attach(c);
    list();
  } catch (e) {
    notice(e.message);
  }
}

$("answer").onclick = () => answer(false);
$("answervideo").onclick = () => answer(true);
$("decline").onclick = () => ringing[0]?.hangup();
$("ring").oncancel = (e) => {
  e.preventDefault();
  ringing[0]?.hangup();
};

// ---- recent calls ----

function keep(c, answered) {
  const all = read("lineout.recent") || [];
  const mine = all.find((r) => r.id === c.id);
  if (mine) mine.answered ||= answered;
  else all.unshift({ id: c.id, peer: c.peer, name: c.name, incoming: c.incoming, answered, at: Date.now() });
  write("lineout.recent", all.slice(0, 20));
}

function recent() {
  const all = read("lineout.recent") || [];
  $("recent").hidden = all.length === 0;
  $("calls").replaceChildren(...all.slice(0, 6).map((r) => {
    const li = document.createElement("li");
    li.classList.toggle("missed", r.incoming && !r.answered);
    const b = document.createElement("button");
    b.type = "button";
    const who = document.createElement("b");
    who.textContent = r.name || r.peer;
    const when = document.createElement("span");
    const day = new Date(r.at).toDateString() === new Date().toDateString();
    when.textContent = (r.incoming ? (r.answered ? "in " : "missed ") : "out ") + new Date(r.at).toLocaleString([], day ? { timeStyle: "short" } : { dateStyle: "short" });
    b.append(who, when);
    b.onclick = () => {
      $("number").value = r.peer;
      typed();
      $("call").focus();
    };
    li.append(b);
    return li;
  }));
}

// ---- dial pad and keys ----

function pad(box, press) {
  const letters = ["", "ABC", "DEF", "GHI", "JKL", "MNO", "PQRS", "TUV", "WXYZ", "", "+", ""];
  [..."123456789*0#"].forEach((d, i) => {
    const b = document.createElement("button");
    b.type = "button";
    b.textContent = d;
    const s = document.createElement("small");
    s.textContent = letters[i];
    s.setAttribute("aria-hidden", "true");
    b.append(s);
    b.setAttribute("aria-label", d === "*" ? "star" : d === "#" ? "hash" : d);
    b.onclick = () => press(d);
    let timer;
    b.onpointerdown = () => d === "0" && press !== tone && (timer = setTimeout(() => { $("number").value = $("number").value + "+"; b.held = true; typed(); }, 600));
    b.onpointerup = b.onpointerleave = () => clearTimeout(timer);
    b.addEventListener("click", (e) => b.held && (e.stopImmediatePropagation(), (b.held = false)), true);
    box.append(b);
  });
}

const typed = () => ($("erase").hidden = !$("number").value);
function tone(d) {
  tones.digit(d);
  current?.digit(d);
}
pad($("pad"), (d) => {
  tones.digit(d);
  $("number").value += d;
  typed();
});
pad($("tonepad"), tone);
$("number").oninput = typed;
$("number").onkeydown = (e) => e.key === "Enter" && dial($("number").value, false);
$("erase").onclick = () => {
  $("number").value = $("number").value.slice(0, -1);
  typed();
};
$("call").onclick = () => dial($("number").value || lastPeer(), false);
$("videocall").onclick = () => dial($("number").value || lastPeer(), true);

// lastPeer fills in whom we called last, as phones do; it is dialled by the next press.
function lastPeer() {
  const r = (read("lineout.recent") || []).find((x) => !x.incoming);
  if (r) $("number").value = r.peer;
  typed();
  return "";
}

const flip = (id, box) => ($(id).onclick = () => {
  const open = $(box).hidden;
  for (const [i, b] of [["keys", "tonepad"], ["move", "moveto"], ["gear", "devices"]]) {
    $(b).hidden = b !== box || !open;
    $(i).setAttribute("aria-pressed", b === box && open);
  }
  if (open && box === "moveto") $("moveto").target.focus();
});
flip("keys", "tonepad");
flip("move", "moveto");
flip("gear", "devices");

$("hang").onclick = () => current?.hangup();
$("mic").onclick = () => {
  current.micOff = !current.micOff;
  current.mute("audio", current.micOff);
  show();
};
$("cam").onclick = () => {
  current.camOff = !current.camOff;
  current.mute("video", current.camOff);
  show();
};
$("holdb").onclick = () => hold(current, !current.held);
$("add").onclick = () => {
  if (current?.status === "ESTABLISHED") hold(current, true);
  current = null;
  show();
  back();
  $("number").focus();
};

// back offers the way to the calls that wait while another is dialled.
function back() {
  const waiting = active();
  if (!waiting.length) return;
  notice("");
  const box = $("notice");
  box.hidden = false;
  const b = document.createElement("button");
  b.type = "button";
  b.className = "plain";
  b.textContent = `Back to ${waiting[0].name || waiting[0].peer}`;
  b.onclick = () => {
    notice("");
    turn(waiting[0]);
  };
  box.replaceChildren(b);
}

$("moveto").onsubmit = (e) => {
  e.preventDefault();
  current?.transfer(e.target.target.value.trim());
  notice("Transfer is asked for…");
  $("move").click();
};

document.onkeydown = (e) => {
  if (e.ctrlKey || e.metaKey || e.altKey || e.target.matches("input, select") || $("ring").open) return;
  if ($("talk").hidden) {
    if (!$("dialler").hidden && /^[0-9*#+]$/.test(e.key)) {
      tones.digit(e.key);
      $("number").value += e.key;
      typed();
    }
    return;
  }
  const act = { m: "mic", v: "cam", h: "holdb", k: "keys", t: "move", Escape: "hang" }[e.key];
  if (act) !$(act).disabled && $(act).click();
  else if (/^[0-9*#]$/.test(e.key) && current) tone(e.key);
};

// ---- devices ----

async function list() {
  if (!navigator.mediaDevices) return;
  const all = await navigator.mediaDevices.enumerateDevices().catch(() => []);
  const speaks = "setSinkId" in $("sound");
  $("speakerrow").hidden = !speaks;
  for (const [id, kind, key] of [["mics", "audioinput", "mic"], ["cams", "videoinput", "cam"], ["speakers", "audiooutput", "speaker"]]) {
    const found = all.filter((d) => d.kind === kind);
    $(id).replaceChildren(...found.map((d, i) => new Option(d.label || `${kind === "videoinput" ? "Camera" : kind === "audioinput" ? "Microphone" : "Speaker"} ${i + 1}`, d.deviceId)));
    $(id).parentElement.hidden = found.length === 0 || (id === "speakers" && !speaks);
    if (found.some((d) => d.deviceId === saved[key])) $(id).value = saved[key];
  }
}
function choose(id, key, use) {
  $(id).onchange = async (e) => {
    saved[key] = e.target.value;
    write("lineout.phone", { ...(read("lineout.phone") || {}), [key]: e.target.value });
    try {
      await use(e.target.value);
    } catch (err) {
      notice(err.message);
    }
    if (current) attach(current);
  };
}
choose("mics", "mic", (id) => current?.use("audio", id));
choose("cams", "cam", (id) => current?.use("video", id));
choose("speakers", "speaker", (id) => $("sound").setSinkId(id));
navigator.mediaDevices?.addEventListener?.("devicechange", list);

// ---- every second: time and quality ----

const codecs = { opus: "Opus", pcma: "G.711 A", pcmu: "G.711 µ", g722: "G.722", h264: "H.264", vp8: "VP8" };
const nice = (c) => codecs[c.toLowerCase()] || c;

async function tick() {
  const c = current;
  if (!c || c.over) return;
  show();
  const q = await c.quality().catch(() => null);
  if (!q || c !== current || c.over || c.status !== "ESTABLISHED") return ($("quality").hidden = true);
  const box = $("quality");
  box.hidden = false;
  const silent = q.packets === 0;
  box.dataset.grade = silent || q.mos < 3.1 ? "bad" : q.mos < 3.8 ? "fair" : "good";
  const head = document.createElement("b");
  head.textContent = silent ? "No sound arrives" : box.dataset.grade === "good" ? "Good" : box.dataset.grade === "fair" ? "Fair" : "Poor";
  const facts = [q.codec && nice(q.codec), q.video && `${nice(q.video)} ${q.width}×${q.height}`, !silent && `${(q.loss * 100).toFixed(1)} % lost`, !silent && `${Math.round(q.jitter)} ms jitter`, q.rtt > 0 && `${Math.round(q.rtt)} ms`].filter(Boolean);
  const rest = document.createElement("span");
  rest.textContent = facts.join(" · ");
  box.replaceChildren(head, rest);
  $("glow").style.transform = `scale(${1 + Math.min(Math.sqrt(q.level) * 0.5, 0.3)})`;
  $("glow").style.opacity = 0.15 + Math.min(q.level * 2, 0.6);
}
ticking = setInterval(tick, 1000);

addEventListener("pagehide", (e) => {
  if (e.persisted) return;
  clearInterval(ticking);
  line.close();
});
addEventListener("beforeunload", (e) => active().length && e.preventDefault());
if (saved.speaker && "setSinkId" in $("sound")) $("sound").setSinkId(saved.speaker).catch(() => {});
list();
show();
form.elements[form.elements.login.value ? "password" : "login"].focus();
