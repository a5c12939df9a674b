// The tones of a telephone, made in the browser: ringing, ring back, busy and digits.
const pairs = { 1: [697, 1209], 2: [697, 1336], 3: [697, 1477], 4: [770, 1209], 5: [770, 1336], 6: [770, 1477], 7: [852, 1209], 8: [852, 1336], 9: [852, 1477], "*": [941, 1209], 0: [941, 1336], "#": [941, 1477] };

// Seconds on and off, as most of Europe hears them (ITU-T E.180).
const cadences = {
  ringback: { tones: [425], on: 1, off: 4, level: 0.08 },
  busy: { tones: [425], on: 0.5, off: 0.5, level: 0.08, times: 4 },
  ring: { tones: [880, 1108], on: 1.2, off: 2.2, level: 0.16, warble: 18 },
};

export class Tones {
  // start plays a cadence until stop or another start.
  start(name) {
    if (this.name === name) return;
    this.stop();
    this.name = name;
    const c = cadences[name];
    const ctx = this.context();
    if (!ctx) return;
    let left = c.times || Infinity;
    const beat = () => {
      this.sound(c.tones, c.on, c.level, c.warble);
      if (--left > 0) this.timer = setTimeout(beat, (c.on + c.off) * 1000);
    };
    beat();
  }

  stop() {
    clearTimeout(this.timer);
    this.name = "";
    this.gain?.gain.cancelScheduledValues(0);
    this.gain?.gain.setTargetAtTime(0, this.ctx.currentTime, 0.01);
    this.gain = null;
  }

  digit(d) {
    const gain = this.gain;
    if (pairs[d] && this.context()) this.sound(pairs[d], 0.12, 0.06);
    this.gain = gain; // a digit is not what stop() silences
  }

  // context is null where browsers have no sound; they may also keep it asleep until a click.
  context() {
    const Kind = window.AudioContext || window.webkitAudioContext;
    if (!Kind) return null;
    this.ctx ??= new Kind();
    if (this.ctx.state === "suspended") this.ctx.resume().catch(() => {});
    return this.ctx;
  }

  sound(tones, seconds, level, warble = 0) {
    const at = this.ctx.currentTime;
    const gain = (this.gain = this.ctx.createGain());
    gain.gain.setValueAtTime(0, at);
    gain.gain.linearRampToValueAtTime(level, at + 0.02);
    gain.gain.setValueAtTime(level, at + seconds - 0.02);
    gain.gain.linearRampToValueAtTime(0, at + seconds);
    gain.connect(this.ctx.destination);
    tones.forEach((hz, i) => {
      const o = this.ctx.createOscillator();
      o.frequency.value = hz;
      let out = o;
      if (warble) { // the two take turns, like the bells of a telephone
        const turn = this.ctx.createGain();
        const wave = this.ctx.createOscillator();
        const depth = this.ctx.createGain();
        wave.type = "square";
        wave.frequency.value = warble;
        depth.gain.value = i ? -0.5 : 0.5;
        turn.gain.value = 0.5;
        wave.connect(depth).connect(turn.gain);
        wave.start(at);
        wave.stop(at + seconds);
        out = o.connect(turn);
      }
      out.connect(gain);
      o.start(at);
      o.stop(at + seconds);
    });
  }
}
