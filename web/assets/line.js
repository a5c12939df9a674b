// A telephone line over the server's WebSocket: one session, its account and its
// calls. It speaks the protocol of the browser SDK and knows nothing of the page.
import { iceServers } from "./whep.js";

const helloTimeout = 10000;
const silence = 20000; // the server pings every few seconds

// Trouble is an error people are to read; kind says what to do about it.
export class Trouble extends Error {
  constructor(kind, message) {
    super(message);
    this.kind = kind; // "account", "network", "device" or "call"
  }
}

const plain = {
  NotAllowedError: "This page may not use the microphone or camera: allow it in the address bar, then try again",
  NotFoundError: "There is no such microphone or camera",
  NotReadableError: "Another program uses the microphone or camera",
  OverconstrainedError: "The chosen microphone or camera cannot be used this way",
};

// listen is how events are told: an object of functions, all optional.
const tell = (on, what, ...args) => on[what]?.(...args);

// Line is open from open() to close(). on: state(name, detail), incoming(call), message(text).
export class Line {
  constructor(on) {
    this.on = on;
    this.calls = new Map();
    this.offers = new Map(); // SDP that came before its call
    this.state = "offline";
  }

  // open signs in; it resolves once calls can be made and throws Trouble.
  async open(account) {
    this.account = account;
    this.left = false;
    this.token = "";
    await this.connect({
      sipLogin: account.login, sipAuthenticationName: account.authName || account.login, sipPassword: account.password,
      sipDomain: account.domain, sipOutboundProxy: account.proxy || account.domain, sipPort: account.port || undefined,
      sipRegisterRequired: account.register,
    });
  }

  async connect(sip) {
    this.show("connecting");
    this.servers ??= await fetch("/whep/-", { method: "OPTIONS" }).then((r) => iceServers(r.headers.get("Link")), () => []);
    return new Promise((resolve, reject) => {
      let ws;
      try {
        ws = new WebSocket(this.account.url);
      } catch {
        return reject(this.fail(new Trouble("network", `${this.account.url} is not the address of a server`)));
      }
      this.ws = ws;
      let refusal = "";
      let ready = false;
      const timer = setTimeout(() => ws.close(), helloTimeout);
      ws.onopen = () => this.send("connection", { appKey: "defaultApp", mediaProviders: ["WebRTC"], keepAlive: true, clientVersion: "2.0",
        clientOSVersion: navigator.appVersion, clientBrowserVersion: navigator.userAgent, msePacketizationVersion: 2, ...sip });
      ws.onmessage = (e) => {
        this.heard();
        let m;
        try {
          m = JSON.parse(e.data);
        } catch {
          return;
        }
        const data = m.data?.[0] || {};
        const done = (state) => {
          clearTimeout(timer);
          ready = true;
          this.show(state);
          resolve();
        };
        if (m.message === "getUserData") {
          this.token = data.authToken || "";
          if (!this.account.register) done("ready");
          else if (!sip.authToken) this.show("registering");
        } else if (m.message === "registered") done("registered");
        else if (m.message === "fail") refusal = data.info || "The server refused";
        else this.handle(m.message, m.data || []);
      };
      ws.onclose = () => {
        clearTimeout(timer);
        clearTimeout(this.deaf);
        if (this.ws !== ws) return;
        this.ws = null;
        if (!ready) return reject(this.fail(refusal ? new Trouble("account", refusal) : new Trouble("network", this.left ? "Signed out" : "The server cannot be reached")));
        if (this.left) return this.show("offline");
        if (refusal) return this.fail(new Trouble("account", refusal));
        this.recover();
      };
    });
  }

  // recover takes the session up again after the network was gone.
  async recover() {
    for (let wait = 0.5; !this.left; wait = Math.min(wait * 2, 5)) {
      this.show("lost");
      await new Promise((r) => setTimeout(r, wait * 1000));
      if (this.left) return;
      try {
        return await this.connect({ authToken: this.token });
      } catch (e) {
        if (wait > 4 && !this.left) { // the server has forgotten this session by now
          for (const c of [...this.calls.values()]) c.ended("FAILED", "The connection to the server was lost");
          try {
            return await this.open(this.account);
          } catch (again) {
            if (again.kind === "account") return;
          }
        }
      }
    }
  }

  fail(e) {
    this.show("failed", e.message);
    return e;
  }

  show(state, detail = "") {
    this.state = state;
    tell(this.on, "state", state, detail);
  }

  // heard notices a network that is gone without a word.
  heard() {
    clearTimeout(this.deaf);
    const ws = this.ws;
    this.deaf = setTimeout(() => {
      ws?.close();
      ws?.onclose?.(); // the closing handshake would wait for the dead network
      if (ws) ws.onclose = null;
    }, silence);
  }

  send(message, data) {
    if (this.ws?.readyState === WebSocket.OPEN) this.ws.send(JSON.stringify({ message, data: [data ?? null] }));
  }

  handle(message, [data, sdp]) {
    switch (message) {
      case "ping":
        return this.send("pong");
      case "setRemoteSDP": {
        const call = this.calls.get(data);
        if (call) call.remote(sdp);
        else this.offers.set(data, sdp);
        return;
      }
      case "notifyIncomingCall": {
        if (this.calls.has(data.callId)) return; // told again after a reconnect
        const call = new Call(this, { id: data.callId, incoming: true, peer: data.caller || "unknown", name: data.visibleName || "", offer: this.offers.get(data.callId) || "" });
        this.offers.delete(data.callId);
        this.calls.set(call.id, call);
        return tell(this.on, "incoming", call);
      }
      case "notifyTryingResponse": case "ring": case "talk": case "hold": case "finish":
        this.offers.delete(message === "finish" ? data.callId : "");
        return this.calls.get(data.callId)?.told(data.status, data);
      case "notifyTransferEvent":
        return tell(this.calls.get(data.callId)?.on || {}, "transfer", data.status);
    }
  }

  // call starts a call; devices is what getUserMedia is asked for.
  async call(peer, devices) {
    const call = new Call(this, { id: crypto.randomUUID?.() || uuid(), incoming: false, peer, name: "" });
    this.calls.set(call.id, call);
    try {
      await call.start(devices);
    } catch (e) {
      call.ended("FAILED", e.message);
      throw e;
    }
    return call;
  }

  close() {
    this.left = true;
    for (const c of [...this.calls.values()]) c.hangup();
    this.ws?.close(1000); // the server frees the account at once
    if (!this.ws) this.show("offline");
  }
}

// uuid is for pages without a secure context, which have no crypto.randomUUID.
const uuid = () => [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, "0")).join("");

// Call is one call of a line. on: status(name), media(), end(status, reason), transfer(status).
export class Call {
  constructor(line, { id, incoming, peer, name, offer = "" }) {
    Object.assign(this, { line, id, incoming, peer, name, offer, status: "NEW", on: {}, began: 0, last: new Map() });
    this.sound = null; // what the other party sends
    this.stream = new MediaStream();
  }

  // offersVideo says whether the caller would like to be seen.
  get offersVideo() { return /^m=video [1-9]/m.test(this.offer); }
  get over() { return this.status === "FINISH" || this.status === "FAILED"; }
  get hasVideo() { return this.pc?.getTransceivers().some((t) => t.receiver.track.kind === "video" && /recv/.test(t.currentDirection || "")) || false; }

  async capture(devices) {
    if (!navigator.mediaDevices) throw new Trouble("device", "Browsers give the microphone to secure pages only: open this page by https or as localhost");
    try {
      this.local = await navigator.mediaDevices.getUserMedia(devices);
    } catch (e) {
      throw new Trouble("device", plain[e.name] || "The microphone or camera cannot be used: " + e.message);
    }
    if (this.over) this.release();
  }

  connection() {
    const pc = (this.pc = new RTCPeerConnection({ iceServers: this.line.servers, bundlePolicy: "max-bundle" }));
    pc.ontrack = (e) => {
      this.stream.addTrack(e.track);
      e.track.onunmute = e.track.onmute = () => tell(this.on, "media");
      tell(this.on, "media");
    };
    pc.onconnectionstatechange = () => {
      if (pc.connectionState === "failed" && !this.over) {
        this.line.send("hangup", { callId: this.id });
        this.ended("FAILED", "No WebRTC path to the server (is UDP blocked?)");
      }
    };
    return pc;
  }

  async start(devices) {
    await this.capture(devices);
    if (this.over) return;
    const pc = this.connection();
    for (const t of this.local.getTracks()) pc.addTransceiver(t, { direction: "sendrecv", streams: [this.local] });
    await pc.setLocalDescription(await pc.createOffer());
    this.change("PENDING");
    this.line.send("call", { callId: this.id, incoming: false, hasAudio: true, hasVideo: this.local.getVideoTracks().length > 0, status: "PENDING",
      mediaProvider: "WebRTC", sdp: pc.localDescription.sdp, caller: this.line.account.login, callee: this.peer, visibleName: this.line.account.name || this.line.account.login });
  }

  async remote(sdp) {
    if (this.incoming || this.over) return;
    try {
      await this.pc.setRemoteDescription({ type: "answer", sdp });
      tell(this.on, "media");
    } catch (e) {
      this.line.send("hangup", { callId: this.id });
      this.ended("FAILED", "The browser does not take the server's answer: " + e.message);
    }
  }

  async answer(devices) {
    try {
      await this.capture(devices);
      if (this.over) return;
      const pc = this.connection();
      await pc.setRemoteDescription({ type: "offer", sdp: this.offer });
      for (const t of pc.getTransceivers()) {
        const own = this.local.getTracks().find((x) => x.kind === t.receiver.track.kind);
        if (own) {
          await t.sender.replaceTrack(own);
          t.direction = "sendrecv";
        } else t.direction = "recvonly";
      }
      await pc.setLocalDescription(await pc.createAnswer());
    } catch (e) {
      this.hangup();
      throw e;
    }
    this.line.send("answer", { callId: this.id, incoming: true, hasAudio: true, hasVideo: this.local.getVideoTracks().length > 0, status: "PENDING",
      mediaProvider: "WebRTC", sdp: this.pc.localDescription.sdp });
    this.change("PENDING");
  }

  // told takes a status the server sends.
  told(status, data) {
    if (this.over || !status) return;
    if (status === "FINISH" || status === "FAILED" || status === "BUSY") return this.ended(status === "FINISH" ? status : "FAILED", data.info || "", data.sipStatus || 0);
    if (status === "ESTABLISHED" && !this.began) this.began = Date.now();
    if (this.incoming && this.status === "PENDING" && status === "RING") return;
    this.change(status);
  }

  change(status) {
    this.status = status;
    tell(this.on, "status", status);
  }

  ended(status, reason, code = 0) {
    if (this.over) return;
    this.status = status;
    this.line.calls.delete(this.id);
    this.release();
    this.pc?.close();
    tell(this.on, "end", status, reason, code);
  }

  release() {
    for (const t of this.local?.getTracks() || []) t.stop();
  }

  hangup() {
    if (this.over) return;
    this.line.send("hangup", { callId: this.id });
    this.ended("FINISH", "");
  }

  hold(on) { this.line.send(on ? "hold" : "unhold", { callId: this.id }); }
  digit(d) { this.line.send("sendDtmf", { callId: this.id, type: "RFC2833", dtmf: d }); }
  transfer(target) {
    this.line.send("hold", { callId: this.id, holdForTransfer: true });
    this.line.send("transfer", { callId: this.id, target });
  }

  mute(kind, on) {
    for (const t of this.local?.getTracks() || []) if (t.kind === kind) t.enabled = !on;
  }

  // use sends another microphone or camera from now on.
  async use(kind, deviceId) {
    const old = this.local?.getTracks().find((t) => t.kind === kind);
    const sender = this.pc?.getSenders().find((s) => s.track && s.track === old);
    if (!old || !sender) return;
    let fresh;
    try {
      fresh = (await navigator.mediaDevices.getUserMedia({ [kind]: { deviceId: { exact: deviceId } } })).getTracks()[0];
    } catch (e) {
      throw new Trouble("device", plain[e.name] || e.message);
    }
    fresh.enabled = old.enabled;
    await sender.replaceTrack(fresh);
    this.local.removeTrack(old);
    this.local.addTrack(fresh);
    old.stop();
    if (this.over) fresh.stop();
  }

  // quality is what a caller hears, from the last second: a mean opinion score
  // by the E-model (ITU-T G.107 with the impairment of loss of G.113), and why.
  async quality() {
    if (!this.pc) return null;
    const out = { codec: "", video: "", loss: 0, jitter: 0, rtt: 0, level: 0, width: 0, height: 0, mos: 0, packets: 0 };
    const report = await this.pc.getStats();
    let buffered = 0;
    for (const s of report.values()) {
      if (s.type === "candidate-pair" && s.nominated) out.rtt = (s.currentRoundTripTime || 0) * 1000;
      if (s.type !== "inbound-rtp") continue;
      const codec = (report.get(s.codecId)?.mimeType || "").split("/")[1] || "";
      const before = this.last.get(s.id) || { packetsReceived: 0, packetsLost: 0, delay: 0, emitted: 0 };
      const now = { packetsReceived: s.packetsReceived || 0, packetsLost: s.packetsLost || 0, delay: s.jitterBufferDelay || 0, emitted: s.jitterBufferEmittedCount || 0 };
      this.last.set(s.id, now);
      if (s.kind === "video") {
        Object.assign(out, { video: codec, width: s.frameWidth || 0, height: s.frameHeight || 0 });
        continue;
      }
      const got = now.packetsReceived - before.packetsReceived;
      const lost = Math.max(now.packetsLost - before.packetsLost, 0);
      Object.assign(out, { codec, packets: got, loss: got + lost ? lost / (got + lost) : 0, jitter: (s.jitter || 0) * 1000, level: s.audioLevel || 0 });
      if (now.emitted > before.emitted) buffered = ((now.delay - before.delay) / (now.emitted - before.emitted)) * 1000;
    }
    const delay = out.rtt / 2 + buffered + 20;
    const r = 93.2 - 0.024 * delay - (delay > 177.3 ? 0.11 * (delay - 177.3) : 0) - (95 * out.loss * 100) / (out.loss * 100 + 10);
    out.mos = r <= 0 ? 1 : Math.min(4.5, 1 + 0.035 * r + r * (r - 60) * (100 - r) * 7e-6);
    return out;
  }
}
