// The call doctor: a list of calls, or one call (?call=ID), by the REST API.
const $ = (id) => document.getElementById(id);
const call = new URLSearchParams(location.search).get("call");

function el(tag, text, props = {}, ...children) {
  const e = Object.assign(document.createElement(tag), props);
  if (text) e.textContent = text;
  e.append(...children);
  return e;
}

async function get(query) {
  const res = await fetch("/rest-api/call/doctor" + query, { headers: { Accept: "application/json" } });
  if (!res.ok) throw new Error((await res.json().catch(() => ({}))).message || "HTTP " + res.status);
  return res.json();
}

const clock = (ms) => new Date(ms).toLocaleTimeString();
const seconds = (ms) => (ms / 1000).toFixed(3);
const many = (n, what) => `${n} ${what}${n === 1 ? "" : "s"}`;
const hex = (n) => "0x" + n.toString(16).padStart(8, "0");
const tone = (status) => ({ FAILED: "bad", BUSY: "warn", FINISH: "done" })[status] || "live";

function badge(status, code) {
  return el("span", status + (code ? " " + code : ""), { className: "badge " + tone(status) });
}

function showList(calls) {
  $("list-card").hidden = calls.length === 0;
  $("note").hidden = calls.length > 0;
  $("note").textContent = "No call has been made since the start.";
  $("list").replaceChildren(...calls.map((c) => {
    const what = el("div", "", { className: "what" }, el("b", c.callId), el("span", `${c.caller || "?"} → ${c.callee || "?"} · ${clock(c.started)}`), el("span", c.cause));
    const link = el("nav", "", {}, badge(c.status), el("a", "Open", { href: "/doctor?call=" + encodeURIComponent(c.callId) }));
    return el("li", "", {}, what, link);
  }));
}

function facts(list) {
  const dl = el("dl");
  for (const [name, value] of list) {
    if (value !== "" && value != null) dl.append(el("dt", name), el("dd", String(value)));
  }
  return dl;
}

function medium(m) {
  const came = m.packetsReceived > 0;
  return el("div", "", { className: "box" }, el("h3", m.kind + (m.codec ? " · " + m.codec : "")), el("p", m.latch, { className: "soft" }), facts([
    ["received", `${many(m.packetsReceived, "packet")}` + (came ? `, ${m.lossPercent} % lost` : "") + (m.packetsRefused ? `, ${m.packetsRefused} refused` : "")],
    ["sent", many(m.packetsSent, "packet")],
    ["RTCP", m.rtcpReceived || m.rtcpSent ? `${m.rtcpReceived} in, ${m.rtcpSent} out` : ""],
    ["jitter", came ? `${m.jitterMs} ms` : ""],
    ["frames", came ? m.frames + (m.kind === "video" ? `, ${many(m.keyFrames, "key frame")}` : "") : ""],
    ["key frame asked for", m.keyFrameRequests ? many(m.keyFrameRequests, "time") : ""],
    ["rate", came ? `${m.framesPerSecond} frames/s` : ""],
    ["offset", came && m.kind === "video" ? `${m.offsetErrorMs} ms from its place` : ""],
    ["payload types", m.payloadTypes.join(", ")],
    ["SSRC", m.ssrcs.map(hex).join(", ")],
  ]));
}

function joined(j) {
  return el("div", "", { className: "box" }, el("h3", j.kind + (j.to === "user" ? " to the user here" : " to the other side")), el("p", j.plan + (j.error ? "; " + j.error : ""), { className: "soft" }), facts([
    ["passed on", j.passed ? many(j.passed, "packet") : ""],
    ["converted", j.converted ? many(j.converted, "packet") : ""],
    ["left out", j.dropped ? many(j.dropped, "packet") : ""],
    ["added delay", `${j.delayP50Ms} ms, 1 % more than ${j.delayP99Ms} ms`],
  ]));
}

function side(title, s) {
  return el("div", "", { className: "box" }, el("h4", title), el("p", [s.address, s.direction].filter(Boolean).join(" · ") || "nothing", { className: "soft" }),
    el("ul", "", { className: "formats" }, ...s.formats.map((f) => el("li", f))));
}

function section(s) {
  return el("div", "", { className: "section" }, el("h3", s.kind), el("p", s.why), el("div", "", { className: "pair" }, side("lineout", s.offer), side("other side", s.answer)));
}

function message(m) {
  const line = el("summary", "", {}, el("time", seconds(m.at)), el("span", m.line, { className: "arrow" }), el("small", (m.sdp ? "SDP · " : "") + m.remote));
  return el("li", "", { className: m.sent ? "out" : "in" }, el("details", "", {}, line, el("pre", m.text)));
}

function flows(list) {
  const rows = list.map((f) => [f.kind + (f.rtcp ? " RTCP" : ""), f.sent ? "→" : "←", f.localPort, f.remote, f.packets, f.bytes, f.refused, f.payloadTypes.join(" "), f.ssrcs.map(hex).join(" "),
    f.packets ? `${seconds(f.first)} – ${seconds(f.last)}` : ""]);
  const head = el("tr", "", {}, ...["", "", "port", "other side", "packets", "bytes", "refused", "PT", "SSRC", "seconds"].map((h) => el("th", h)));
  return [el("thead", "", {}, head), el("tbody", "", {}, ...rows.map((r) => el("tr", "", {}, ...r.map((c) => el("td", String(c))))))];
}

let shown = "";
function showCall(r) {
  const text = JSON.stringify(r);
  if (text === shown) return; // what is unfolded stays so
  const open = [...document.querySelectorAll("#ladder details")].map((d) => d.open);
  shown = text;
  const id = encodeURIComponent(r.callId);
  $("note").hidden = true;
  $("one").hidden = false;
  document.title = `${r.callId} · call doctor`;
  $("title").replaceChildren(r.callId + " ", badge(r.status, r.sipStatus));
  $("subtitle").textContent = `${r.caller || "?"} → ${r.callee || "?"} · ${new Date(r.started).toLocaleString()}${r.ended ? ` · ${Math.round((r.ended - r.started) / 1000)} s` : ""}`;
  $("cause").textContent = r.cause;
  $("pcap").href = "/rest-api/call/trace?callId=" + id;
  $("json").href = "/rest-api/call/doctor?callId=" + id;
  $("kept").textContent = (r.packetsSeen ? `The trace holds the SIP messages and ${r.packetsKept} of ${many(r.packetsSeen, "media packet")}` : "The trace holds the SIP messages; there was no media")
    + (r.messagesForgotten ? `; ${many(r.messagesForgotten, "earlier message")} no longer.` : ".");
  $("timeline").replaceChildren(...r.timeline.map((n) => el("li", "", {}, el("time", seconds(n.at)), el("span", n.text))));
  $("media").replaceChildren(...(r.media.length ? r.media.map(medium) : [el("p", "No media has been agreed.", { className: "soft" })]));
  $("joined").replaceChildren(...r.joined.map(joined));
  $("joined").closest("section").hidden = r.joined.length === 0;
  $("sdp").replaceChildren(...(r.sdp.length ? r.sdp.map(section) : [el("p", "No session description has been seen.", { className: "soft" })]));
  $("ladder").replaceChildren(...r.messages.map(message));
  document.querySelectorAll("#ladder details").forEach((d, i) => { d.open = open[i] || false; });
  $("flows").closest("section").hidden = r.flows.length === 0;
  $("flows").replaceChildren(...flows(r.flows));
}

async function refresh() {
  let again = 3000;
  try {
    if (call) {
      const r = await get("?callId=" + encodeURIComponent(call));
      showCall(r);
      if (r.ended) again = 15000;
    } else {
      showList(await get(""));
    }
  } catch (e) {
    $("note").hidden = false;
    $("note").textContent = "This cannot be shown: " + e.message;
    again = 10000;
  }
  setTimeout(refresh, document.hidden ? 15000 : again);
}
refresh();
