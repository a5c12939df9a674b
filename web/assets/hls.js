// Plays a stream by HLS where WebRTC cannot be used: with the vendored hls.js
// where Media Source Extensions exist, else by the browser itself (iPhones).
import { Failure } from "./whep.js";

function load() {
  if (window.Hls) return Promise.resolve();
  return new Promise((resolve, reject) => {
    const s = document.createElement("script");
    s.src = "/player/vendor/hls.min.js";
    s.onload = resolve;
    s.onerror = () => reject(new Failure("network", "The server cannot be reached"));
    document.head.append(s);
  });
}

export class HLS {
  constructor(name, video, onLost) {
    const enc = encodeURIComponent(name);
    this.url = `/${enc}/${enc}.m3u8`;
    this.video = video;
    this.onLost = onLost;
    this.rates = {};
  }

  async open(signal) {
    await load();
    signal.throwIfAborted();
    const { video } = this;
    video.onended = () => this.lost();
    if (!window.Hls.isSupported()) {
      if (!video.canPlayType("application/vnd.apple.mpegurl")) throw new Failure("unsupported", "This browser plays neither WebRTC from here nor HLS");
      return this.native(signal);
    }
    const hls = (this.hls = new window.Hls({ enableWorker: false, lowLatencyMode: true, liveSyncDurationCount: 2, manifestLoadPolicy: patient, playlistLoadPolicy: patient }));
    await new Promise((resolve, reject) => {
      signal.addEventListener("abort", () => reject(signal.reason));
      hls.on(window.Hls.Events.MANIFEST_PARSED, (_, data) => {
        const l = data.levels[0] || {};
        Object.assign(this, { videoCodec: l.videoCodec, audioCodec: l.audioCodec });
        resolve();
      });
      hls.on(window.Hls.Events.FRAG_LOADED, (_, d) => {
        // Sound and picture come in segments of their own.
        if (d.frag.duration > 0) this.rates[d.frag.type] = (d.frag.stats.total * 8) / d.frag.duration;
      });
      hls.on(window.Hls.Events.ERROR, (_, e) => {
        if (!e.fatal) return;
        reject(this.failure(e));
        if (e.type === window.Hls.ErrorTypes.MEDIA_ERROR && !this.recovered) {
          this.recovered = true;
          hls.recoverMediaError();
          return;
        }
        this.lost();
      });
      hls.loadSource(this.url);
      hls.attachMedia(video);
    });
  }

  failure(e) {
    const code = e.response?.code;
    if (code === 404) return new Failure("missing", "Stream not found");
    if (code === 409 || code === 503) return new Failure("wait", "The stream is not ready", 2);
    if (code === 401 || code === 403) return new Failure("forbidden", `The server refuses (HTTP ${code})`);
    if (e.type === window.Hls.ErrorTypes.NETWORK_ERROR) return new Failure("network", code ? `The server answers HTTP ${code}` : "The server cannot be reached");
    return new Failure("unsupported", `The browser cannot play this stream (${e.details})`);
  }

  async native(signal) {
    const res = await fetch(this.url, { signal }).catch(() => {
      signal.throwIfAborted();
      throw new Failure("network", "The server cannot be reached");
    });
    if (!res.ok) throw this.failure({ type: "networkError", response: { code: res.status } });
    this.video.onerror = () => this.lost();
    this.video.src = this.url;
  }

  lost() {
    const tell = this.onLost;
    this.onLost = null;
    if (tell) tell();
  }

  hasVideo() {
    return this.video.videoWidth > 0 || !!this.videoCodec;
  }

  async gone() {
    return false; // the playlist's own errors tell
  }

  level() {
    return -1; // not known
  }

  async stats() {
    const v = this.video;
    const q = v.getVideoPlaybackQuality?.();
    const now = performance.now();
    const frames = q ? q.totalVideoFrames - q.droppedVideoFrames : 0;
    const fps = this.at ? ((frames - this.frames) * 1000) / (now - this.at) : undefined;
    const packets = v.currentTime !== this.time ? 1 : 0;
    Object.assign(this, { at: now, frames, time: v.currentTime });
    const behind = this.hls?.latency;
    return { bits: Object.values(this.rates).reduce((a, b) => a + b, 0), lost: 0, packets, frames, fps, width: v.videoWidth, height: v.videoHeight, videoCodec: this.videoCodec, audioCodec: this.audioCodec, behind };
  }

  close() {
    this.onLost = null;
    this.video.onended = this.video.onerror = null;
    this.hls?.destroy();
    this.video.removeAttribute("src");
  }
}

// The first segments of a live stream take a moment, so time to first byte is generous.
const patient = { default: { maxTimeToFirstByteMs: 20000, maxLoadTimeMs: 20000, timeoutRetry: { maxNumRetry: 1, retryDelayMs: 0, maxRetryDelayMs: 0 }, errorRetry: { maxNumRetry: 1, retryDelayMs: 1000, maxRetryDelayMs: 1000 } } };
