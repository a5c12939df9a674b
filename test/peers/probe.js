// Runs in every page before the page's own scripts: finds each <video>, <audio>
// and RTCPeerConnection and measures what a viewer of the test clips gets.
// __probe.report() gives the figures; the Go side (Page.Report) documents them.
(() => {
  const connections = [], errors = [], watched = new Map(), start = performance.now();
  const now = () => Math.round(performance.now() - start);
  const note = text => errors.length < 40 && errors.push(`${now()} ms: ${text}`);
  addEventListener('error', e => note(e.message || 'resource failed'));
  addEventListener('unhandledrejection', e => note('rejection: ' + e.reason));
  if (window.RTCPeerConnection) {
    window.RTCPeerConnection = new Proxy(window.RTCPeerConnection, {
      construct(target, args) {
        const pc = new target(...args);
        connections.push(pc);
        return pc;
      },
    });
  }

  // Picture. The bar code is read from a copy of 160x90 pixels, as the Go side does it.
  const W = 160, H = 90;
  function readFrame(d) {
    const level = c => {
      let sum = 0;
      for (const y of [83, 85, 87]) for (let x = c * 8 + 2; x < c * 8 + 6; x++) sum += d[(y * W + x) * 4 + 1];
      return sum / 12;
    };
    const v = Array.from({ length: 20 }, (_, c) => level(c));
    let number = null;
    if (v[0] > 150 && v[1] < 100 && v[19] > 150) {
      const half = (v[0] + v[1]) / 2;
      let n = 0, ones = 0;
      for (const l of v.slice(2, 18)) { n = n * 2 + (l > half); ones += l > half; }
      if ((ones % 2 === 0) === (v[18] > half)) number = n;
    }
    let sum = 0, k = 0;
    for (const y of [10, 30, 50]) for (let x = 20; x < 140; x += 4) { sum += d[(y * W + x) * 4 + 1]; k++; }
    return [number, sum / k > 150];
  }

  function watchPicture(el, s) {
    const canvas = new OffscreenCanvas(W, H), ctx = canvas.getContext('2d', { willReadFrequently: true });
    let lit = true;
    const each = (at, meta) => {
      try {
        ctx.drawImage(el, 0, 0, W, H);
        const [n, flash] = readFrame(ctx.getImageData(0, 0, W, H).data);
        const shown = meta.expectedDisplayTime;
        if (s.firstFrame === null) s.firstFrame = at - start;
        if (s.frames.push([shown, n]) > 30000) s.frames.shift();
        // When the first of the two bright frames was missed, the second tells the time.
        if (flash && !lit && (n === null || n % 25 < 2)) s.flashes.push([shown - (n !== null && n % 25 === 1 ? 40 : 0), n === null ? null : Math.floor(n / 25)]);
        lit = flash;
      } catch (e) { s.error = String(e); }
      el.requestVideoFrameCallback(each);
    };
    el.requestVideoFrameCallback(each);
  }

  // Sound. A worklet looks for the tones of the beeps in blocks of 128 samples.
  const worklet = `registerProcessor('beeps', class extends AudioWorkletProcessor {
    constructor() { super(); this.win = new Float32Array(512); this.peak = 0.02; this.blocks = 0; this.energy = 0; this.on = null; }
    tone(f) {
      const w = 2 * Math.PI * f / sampleRate, c = 2 * Math.cos(w); let a = 0, b = 0;
      for (const v of this.win) { const t = v + c * a - b; b = a; a = t; }
      return Math.sqrt(Math.max(0, a * a + b * b - c * a * b)) * 2 / this.win.length;
    }
    process([[x]]) {
      if (!x) return true;
      this.win.copyWithin(0, 128); this.win.set(x, 384);
      for (const v of x) this.energy += v * v;
      const low = this.tone(1000), high = this.tone(1500), now = Math.max(low, high);
      this.peak = Math.max(this.peak * 0.9998, now);
      if (!this.on && now > this.peak * 0.5 && now > 0.05) this.on = { at: currentTime + (128 - 256) / sampleRate, low: 0, high: 0, n: 0 };
      if (this.on) {
        this.on.low += low; this.on.high += high; this.on.n++;
        if (now < this.peak * 0.4) {
          const seconds = this.on.n * 128 / sampleRate;
          if (seconds > 0.05 && seconds < 0.2) this.port.postMessage({ at: this.on.at, hz: this.on.high > this.on.low ? 1500 : 1000 });
          this.on = null;
        }
      }
      if (++this.blocks % 100 === 0) { this.port.postMessage({ rms: Math.sqrt(this.energy / 12800) }); this.energy = 0; }
      return true;
    }
  })`;
  let audio = null, loaded = null;
  async function watchSound(el, s) {
    // captureStream() only once per element: a second call takes the sound away from the first.
    const stream = el.srcObject || (el.currentSrc && el.captureStream ? (s.captured ||= el.captureStream()) : null);
    if (!stream || !stream.getAudioTracks().length || s.stream === stream) return;
    s.stream = stream;
    try {
      audio ||= new AudioContext({ latencyHint: 'interactive' });
      loaded ||= audio.audioWorklet.addModule(URL.createObjectURL(new Blob([worklet], { type: 'text/javascript' })));
      await audio.resume();
      await loaded;
      const node = new AudioWorkletNode(audio, 'beeps', { numberOfInputs: 1, numberOfOutputs: 0, channelCount: 1, channelCountMode: 'explicit' });
      audio.createMediaStreamSource(stream).connect(node);
      s.node = node; // else it is collected
      node.port.onmessage = ({ data: m }) => {
        if (m.hz) {
          const t = audio.getOutputTimestamp(); // relates the audio clock to the page's
          s.beeps.push([t.performanceTime ? t.performanceTime + (m.at - t.contextTime) * 1000 : performance.now(), m.hz]);
        } else {
          s.rms = m.rms;
          if (m.rms > 0.003 && s.firstSound === null) s.firstSound = performance.now() - start;
        }
      };
    } catch (e) { s.error = String(e); }
  }

  // An element marked data-noprobe is left alone.
  setInterval(() => document.querySelectorAll('video,audio').forEach(el => {
    if (el.dataset.noprobe !== undefined) return;
    let s = watched.get(el);
    if (!s) {
      s = { frames: [], flashes: [], beeps: [], events: [], rms: 0, firstFrame: null, firstSound: null, error: '' };
      watched.set(el, s);
      for (const e of ['playing', 'waiting', 'stalled', 'pause', 'ended', 'error', 'emptied']) {
        el.addEventListener(e, () => s.events.length < 60 && s.events.push(`${now()} ms: ${e}`));
      }
      if (el.requestVideoFrameCallback) watchPicture(el, s);
    }
    watchSound(el, s);
  }), 200);

  const median = a => { a = [...a].sort((x, y) => x - y); return a.length ? a[a.length >> 1] : null; };
  const round = x => Math.round(x * 10) / 10;

  function sync(s) {
    const pair = (t, hz, about, within) => {
      let best = null;
      for (const [at, f] of s.beeps) if (f === hz && (best === null || Math.abs(at - t - about) < Math.abs(best - about))) best = at - t;
      return best !== null && Math.abs(best - about) <= within ? best : null;
    };
    const known = s.flashes.filter(([, sec]) => sec !== null);
    // The 1500 Hz beeps, one in five seconds, say which second is meant.
    const coarse = median(known.filter(([, sec]) => sec % 5 === 0).map(([t]) => pair(t, 1500, 0, 2500)).filter(o => o !== null));
    const off = known.map(([t, sec]) => pair(t, sec % 5 === 0 ? 1500 : 1000, coarse ?? 0, coarse === null ? 500 : 450)).filter(o => o !== null);
    return off.length ? { pairs: off.length, medianMillis: round(median(off)), minMillis: round(Math.min(...off)), maxMillis: round(Math.max(...off)) } : null;
  }

  function media(el, s) {
    const f = s.frames, gaps = f.slice(1).map((x, i) => x[0] - f[i][0]), q = f.filter(x => x[1] !== null);
    let lost = 0, repeated = 0, backward = 0, restarts = 0;
    for (let i = 1; i < q.length; i++) {
      const d = q[i][1] - q[i - 1][1];
      if (d === 0) repeated++; else if (d > 0) lost += d - 1; else if (q[i][1] < 75 && -d > 100) restarts++; else backward++;
    }
    return {
      tag: el.tagName, size: el.videoWidth + 'x' + el.videoHeight, currentTime: el.currentTime, readyState: el.readyState, paused: el.paused, muted: el.muted,
      presented: f.length, numbered: q.length, last: q.length ? q[q.length - 1][1] : -1, lost, repeated, backward, restarts,
      maxGapMillis: Math.round(Math.max(0, ...gaps)), fps: f.length > 1 ? round((f.length - 1) / (f[f.length - 1][0] - f[0][0]) * 1000) : 0,
      firstFrameMillis: s.firstFrame, firstSoundMillis: s.firstSound, flashes: s.flashes.length, beeps: s.beeps.length, sync: sync(s), rms: s.rms, events: s.events, error: s.error,
    };
  }

  async function received(pc) {
    const out = [], stats = await pc.getStats();
    stats.forEach(s => {
      if (s.type !== 'inbound-rtp') return;
      out.push({
        kind: s.kind, codec: stats.get(s.codecId)?.mimeType ?? '', packetsReceived: s.packetsReceived, packetsLost: s.packetsLost,
        framesReceived: s.framesReceived ?? 0, framesDecoded: s.framesDecoded ?? 0, framesDropped: s.framesDropped ?? 0, keyFramesDecoded: s.keyFramesDecoded ?? 0,
        freezeCount: s.freezeCount ?? 0, freezeSeconds: s.totalFreezesDuration ?? 0, nackCount: s.nackCount ?? 0, pliCount: s.pliCount ?? 0,
        concealedSamples: s.concealedSamples ?? 0, silentConcealedSamples: s.silentConcealedSamples ?? 0, totalSamplesReceived: s.totalSamplesReceived ?? 0,
        playoutMillis: s.estimatedPlayoutTimestamp ?? 0,
        jitterBufferMillis: s.jitterBufferEmittedCount ? round(s.jitterBufferDelay / s.jitterBufferEmittedCount * 1000) : 0,
      });
    });
    return out;
  }

  window.__probe = {
    async report() {
      const rtp = [];
      for (const pc of connections) if (pc.connectionState !== 'closed') rtp.push(...await received(pc));
      return { seconds: now() / 1000, errors, media: [...watched].map(([el, s]) => media(el, s)), rtp };
    },
  };
})();
