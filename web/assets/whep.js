// Plays a stream by WHEP: one POST of an offer, the answer holds everything.

// Failure says what the player should do next: "wait" (the call is not
// answered), "missing" (no such stream), "busy", "network", or "refused"
// (WebRTC will not do here, HLS may).
export class Failure extends Error {
  constructor(kind, message, retryAfter = 0) {
    super(message);
    this.kind = kind;
    this.retryAfter = retryAfter;
  }
}

const answerTimeout = 45000; // the server may hold the request until the call is answered
const connectTimeout = 10000;

function classify(status, text, retryAfter) {
  const wait = Math.min(Math.max(Number(retryAfter) || 2, 0.5), 30);
  const cause = text.trim().slice(0, 300) || `HTTP ${status}`;
  if (status === 409) return new Failure("wait", cause, wait);
  if (status === 404 && /stream/i.test(text)) return new Failure("missing", cause);
  if (status === 503 || status === 429) return new Failure("busy", cause, wait);
  if (status === 401 || status === 403) return new Failure("forbidden", cause);
  if (status === 500 || status === 502 || status === 504) return new Failure("network", cause);
  return new Failure("refused", cause);
}

// iceServers reads the Link headers a WHEP endpoint may send.
export function iceServers(link) {
  const found = [];
  for (const m of (link || "").matchAll(/<((?:stuns?|turns?):[^>]+)>((?:\s*;\s*[\w-]+="(?:[^"\\]|\\.)*")*)/g)) {
    const attrs = Object.fromEntries([...m[2].matchAll(/([\w-]+)="((?:[^"\\]|\\.)*)"/g)].map((a) => [a[1], a[2].replace(/\\(.)/g, "$1")]));
    if (attrs.rel !== "ice-server") continue;
    found.push(attrs.username ? { urls: m[1], username: attrs.username, credential: attrs.credential } : { urls: m[1] });
  }
  return found;
}

export class WHEP {
  // onLost is called once when a connection that worked is gone.
  constructor(name, onLost) {
    this.url = "/whep/" + encodeURIComponent(name);
    this.onLost = onLost;
    this.stream = new MediaStream();
    this.last = new Map();
  }

  // open resolves when media can flow; it throws a Failure.
  async open(signal) {
    let link = "";
    try {
      link = (await fetch(this.url, { method: "OPTIONS", signal })).headers.get("Link");
    } catch {
      signal.throwIfAborted(); // else the POST will tell what is wrong
    }
    const pc = (this.pc = new RTCPeerConnection({ iceServers: iceServers(link), bundlePolicy: "max-bundle" }));
    pc.ontrack = (e) => this.stream.addTrack(e.track);
    this.audio = pc.addTransceiver("audio", { direction: "recvonly" });
    this.video = pc.addTransceiver("video", { direction: "recvonly" });
    // The server learns our candidates from our checks: nothing to gather first.
    await pc.setLocalDescription(await pc.createOffer());
    const answer = await this.post(signal);
    const up = this.connected(signal);
    try {
      await pc.setRemoteDescription({ type: "answer", sdp: answer });
    } catch (e) {
      up.catch(() => {}); // its end is of no interest any more
      throw new Failure("refused", "The browser does not take the server's answer: " + e.message);
    }
    this.answered?.();
    await up;
    // A server that says goodbye closes DTLS; the connection's own state would take seconds.
    const dtls = this.audio.receiver.transport;
    dtls?.addEventListener("statechange", () => (dtls.state === "closed" || dtls.state === "failed") && this.lost());
  }

  // gone asks the server whether it still has this session, after so many
  // seconds of silence. A server that cannot be reached gets a second chance.
  async gone(seconds) {
    if (!this.session) return false;
    const res = await fetch(this.session, { method: "PATCH", headers: { "Content-Type": "application/trickle-ice-sdpfrag" }, body: "" }).catch(() => null);
    return res ? res.status === 404 : seconds > 4;
  }

  async post(signal) {
    // AbortSignal.any would do, but Safari has it only since 17.4.
    const limit = new AbortController();
    const forward = () => limit.abort();
    signal.addEventListener("abort", forward);
    const timer = setTimeout(forward, answerTimeout);
    let res;
    try {
      res = await fetch(this.url, { method: "POST", headers: { "Content-Type": "application/sdp" }, body: this.pc.localDescription.sdp, signal: limit.signal });
    } catch {
      signal.throwIfAborted();
      throw new Failure("network", limit.signal.aborted ? "The server does not answer" : "The server cannot be reached");
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", forward);
    }
    const text = await res.text();
    if (res.status !== 201) throw classify(res.status, text, res.headers.get("Retry-After"));
    const location = res.headers.get("Location");
    this.session = location ? new URL(location, new URL(this.url, document.baseURI)).href : "";
    signal.throwIfAborted();
    return text;
  }

  connected(signal) {
    const pc = this.pc;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Failure("refused", "No WebRTC path to the server (is UDP blocked?)")), connectTimeout);
      signal.addEventListener("abort", () => { clearTimeout(timer); reject(signal.reason); });
      let up = false;
      pc.onconnectionstatechange = () => {
        const state = pc.connectionState;
        clearTimeout(this.grace);
        if (state === "connected") {
          up = true;
          clearTimeout(timer);
          resolve();
        } else if (state === "failed" || state === "closed") {
          clearTimeout(timer);
          up ? this.lost() : reject(new Failure("refused", "The WebRTC connection failed"));
        } else if (state === "disconnected" && up) {
          this.grace = setTimeout(() => this.lost(), 4000);
        }
      };
    });
  }

  lost() {
    const tell = this.onLost;
    this.onLost = null;
    if (tell) tell();
  }

  hasVideo() {
    return this.video.currentDirection === "recvonly";
  }

  // level is the loudness now, 0 to 1. Only the statistics know it when the
  // sender does not write it into its packets, and they come a moment later.
  level() {
    const now = performance.now();
    if (!(now - this.asked < 100)) {
      this.asked = now;
      this.audio.receiver.getStats().then((report) => {
        for (const s of report.values()) if (s.type === "inbound-rtp") this.loud = s.audioLevel || 0;
      }, () => {});
    }
    return this.loud || 0;
  }

  // stats returns codecs, size, rates since the last call, and packets lost.
  async stats() {
    const out = { bits: 0, lost: 0, packets: 0 };
    const report = await this.pc.getStats();
    for (const s of report.values()) {
      if (s.type !== "inbound-rtp") continue;
      const before = this.last.get(s.id);
      const seconds = before ? (s.timestamp - before.timestamp) / 1000 : 0;
      if (seconds > 0) out.bits += ((s.bytesReceived - before.bytesReceived) * 8) / seconds;
      if (before) out.packets += s.packetsReceived - before.packetsReceived;
      out.lost += s.packetsLost || 0;
      const codec = (report.get(s.codecId)?.mimeType || "").split("/")[1];
      if (s.kind === "audio") out.audioCodec = codec;
      if (s.kind === "video") {
        Object.assign(out, { videoCodec: codec, width: s.frameWidth, height: s.frameHeight, frames: s.framesDecoded || 0 });
        if (seconds > 0) out.fps = ((s.framesDecoded || 0) - (before.framesDecoded || 0)) / seconds;
      }
      this.last.set(s.id, { timestamp: s.timestamp, bytesReceived: s.bytesReceived, packetsReceived: s.packetsReceived, framesDecoded: s.framesDecoded });
    }
    return out;
  }

  close() {
    this.onLost = null;
    clearTimeout(this.grace);
    if (this.session) fetch(this.session, { method: "DELETE", keepalive: true }).catch(() => {});
    this.session = "";
    if (this.pc) {
      this.pc.onconnectionstatechange = null;
      this.pc.close();
    }
  }
}
