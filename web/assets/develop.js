// The developers' page: addresses of this server in ready examples.
const ws = (location.protocol === "https:" ? "wss://" : "ws://") + location.host;

const rows = [
  ["WebSocket of the SDK (urlServer)", ws],
  ["REST API", location.origin + "/rest-api"],
  ["HLS", location.origin + "/NAME/NAME.m3u8"],
  ["WHEP (play)", location.origin + "/whep/NAME"],
  ["WHIP (publish)", location.origin + "/whip/NAME"],
  ["Metrics, health", location.origin + "/metrics, /healthz"],
];
const body = document.createElement("tbody");
for (const [what, address] of rows) {
  const tr = document.createElement("tr");
  const code = document.createElement("code");
  code.textContent = address;
  const td = document.createElement("td");
  td.append(code);
  const th = document.createElement("td");
  th.textContent = what;
  tr.append(th, td);
  body.append(tr);
}
document.getElementById("addresses").append(body);

document.getElementById("sdk").textContent = `const { SESSION_STATUS, CALL_STATUS } = Flashphoner.constants;
Flashphoner.createSession({ urlServer: "${ws}", sipOptions: {
  login: "1001", authenticationName: "1001", password: "…",
  domain: "${location.hostname}", outboundProxy: "${location.hostname}", port: 5060, registerRequired: true,
}}).on(SESSION_STATUS.REGISTERED, (session) => {
  session.createCall({ callee: "1002", visibleName: "1001",
    localVideoDisplay: local, remoteVideoDisplay: remote, constraints: { audio: true, video: false },
  }).on(CALL_STATUS.ESTABLISHED, () => console.log("they talk")).call();
});`;

document.getElementById("whip").textContent = `const pc = new RTCPeerConnection();
const media = await navigator.mediaDevices.getUserMedia({ audio: true, video: true });
for (const t of media.getTracks()) pc.addTrack(t, media);
await pc.setLocalDescription(await pc.createOffer());
const res = await fetch("${location.origin}/whip/NAME", { method: "POST",
  headers: { "Content-Type": "application/sdp" }, body: pc.localDescription.sdp });
await pc.setRemoteDescription({ type: "answer", sdp: await res.text() });
// then: ${location.origin}/player?stream=NAME`;
