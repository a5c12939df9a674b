// The landing page: what runs now, read by the REST API if it lets us.
const $ = (id) => document.getElementById(id);

$("curl").textContent = `curl -X POST ${location.origin}/rest-api/call/startup \\
  -H 'Content-Type: application/json' -d '{
  "callId": "call1", "callee": "10005", "toStream": "call_stream1",
  "hasAudio": true, "hasVideo": true,
  "sipLogin": "10006", "sipPassword": "...", "sipDomain": "pbx.example",
  "sipPort": 5060, "sipRegisterRequired": true
}'`;

function el(tag, text, props = {}) {
  const e = Object.assign(document.createElement(tag), props);
  if (text) e.textContent = text;
  return e;
}

function row(title, facts, links) {
  const li = el("li");
  const what = el("div", "", { className: "what" });
  what.append(el("b", title), el("span", facts.filter(Boolean).join(" · ")));
  const nav = el("nav");
  for (const [text, href] of links) nav.append(el("a", text, { href }));
  li.append(what, nav);
  return li;
}

async function list(path) {
  const res = await fetch("/rest-api/" + path, { headers: { Accept: "application/json" } });
  if (res.status === 404) return [];
  if (!res.ok) throw new Error((await res.json().catch(() => ({}))).message || "HTTP " + res.status);
  return res.json();
}

const ago = (ms) => {
  const s = Math.max(0, Math.round((Date.now() - ms) / 1000));
  return s < 120 ? `${s} s` : `${Math.round(s / 60)} min`;
};

async function refresh() {
  let again = 3000;
  try {
    const all = await list("stream/find_all");
    const calls = await list("call/find_all");
    const streams = all.filter((s) => s.published);
    $("note").hidden = streams.length > 0;
    $("note").textContent = "There is no stream now. Make a call with toStream and it appears here.";
    $("streams").hidden = streams.length === 0;
    $("streams").replaceChildren(...streams.map((s) => {
      const enc = encodeURIComponent(s.name);
      const viewers = all.filter((v) => !v.published && v.name === s.name).length;
      return row(s.name, [s.status, s.videoCodec, s.audioCodec, s.width ? `${s.width}×${s.height}` : "", s.record ? "recording" : "", viewers === 1 ? "1 viewer" : `${viewers} viewers`, ago(s.createDate)],
        [["Player", "/player?stream=" + enc], ["HLS", `/${enc}/${enc}.m3u8`], ["Graph", "/debug/graph/" + enc]]);
    }));
    $("calls-card").hidden = calls.length === 0;
    $("calls").replaceChildren(...calls.map((c) => row(c.callId, [c.status, c.sipStatus && "SIP " + c.sipStatus, `${c.caller || "?"} → ${c.callee || "?"}`, c.rtmpStreamStatus], [["Doctor", "/doctor?call=" + encodeURIComponent(c.callId)]])));
  } catch (e) {
    $("note").hidden = false;
    $("note").textContent = "The list cannot be shown: " + e.message;
    $("streams").hidden = $("calls-card").hidden = true;
    again = 10000;
  }
  setTimeout(refresh, document.hidden ? 15000 : again);
}
refresh();
