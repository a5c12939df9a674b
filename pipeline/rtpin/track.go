package rtpin

import (
	"time"

	"github.com/pion/rtp"

	"lineout/codecs"
	"lineout/media"
)

const (
	// askEvery is the least time between two requests for a key frame.
	askEvery = 500 * time.Millisecond
	// askAfter lets the key frame that most senders begin with arrive by itself.
	askAfter = 200 * time.Millisecond
	// defaultDuration is assumed for audio packets that do not tell theirs.
	defaultDuration = 20 * time.Millisecond
	// sentFrames is how many frames may overtake the report that repeats the
	// timestamp of one: 320 ms of sound.
	sentFrames = 16
	// frameChunk is how many frames are allocated at once. Frames of a chunk
	// are freed together, and they are neighbours in time.
	frameChunk = 16
)

// pending is a frame that waits for its turn. Where it lies on the timeline is
// decided when it is handed on.
type pending struct {
	f     *media.Frame
	media time.Duration // media time of decoding; for filler the timeline itself
	ahead time.Duration // how much later it is shown
	since time.Duration // local time when it came; the hold limit counts from here
	size  int
}

// sentFrame is a timestamp and when its first packet came.
type sentFrame struct {
	ts uint32
	at time.Duration
}

// mark is arrival - media time of the first packet after the newest report.
type mark struct {
	off     time.Duration
	awaited bool // a report came, the packet not yet
	set     bool
}

// trackInput makes frames of one track's packets.
type trackInput struct {
	kind    media.Kind
	track   *media.Track
	codec   codecs.Codec
	formats [128]*Format
	noise   [128]bool // payload types of comfort noise
	depack  codecs.Depacketizer

	src   source
	jb    jitterBuffer
	snd   senderClock
	ahead earlyReport
	mark  mark
	queue frameQueue

	params *media.Params
	order  reorder // of pictures

	// waitKey: no picture can be decoded before the next key frame.
	waitKey  bool
	askSince time.Duration // when waitKey began, with packets coming
	asking   bool
	asked    time.Duration
	everAsk  bool
	// requested: asked at firstAsk, and no key frame came since.
	requested bool
	firstAsk  time.Duration

	epoch    uint64
	lost     bool // not yet told to the depacketizer
	gap      bool // the next frame carries Gap
	prev     arrived
	prevSet  bool
	sent     [sentFrames]sentFrame // the newest timestamps, a ring
	sentAt   int                   // where the newest is
	lastPT   uint8                 // last payload type that was reported as a codec change
	ptSeen   bool
	reached  time.Duration // media time up to which units were seen, usable or not
	end      time.Duration // media time at which the last frame ends
	ended    bool          // BYE
	quiet    bool          // the sender said that it is silent
	hasFrame bool

	lastMedia time.Duration // of the last frame handed on
	lastDTS   time.Duration
	lastEnd   time.Duration // where that frame ends
	hasDTS    bool
	filler    bool // that frame was filler

	freezes freezes

	chunk []media.Frame
	stats TrackStats
}

// spec takes over a new or changed track description.
func (t *trackInput) spec(in *Input, s TrackSpec) {
	changed := t.track != nil && t.track != s.Track
	t.kind, t.track = s.Track.Kind, s.Track
	t.formats = [128]*Format{}
	for pt, f := range s.Formats {
		f := f
		t.formats[pt&0x7f] = &f
		if f.Codec.Name() == s.Track.Codec && f.ClockRate == s.Track.ClockRate {
			t.codec = f.Codec
		}
	}
	t.noise = [128]bool{}
	for _, pt := range s.Noise {
		t.noise[pt&0x7f] = true
	}
	t.quiet = false
	t.depack = t.codec.NewDepacketizer()
	t.params = nil
	t.order = reorder{}
	t.waitKey = t.kind == media.Video
	t.gap = changed
	t.lost = changed
	t.prevSet, t.ptSeen = false, false
	t.jb.lo, t.jb.hi = in.cfg.JitterMin, in.cfg.JitterMax
	t.jb.prime = in.hold > 0
	if t.src.setRate(s.Track.ClockRate) {
		t.resetReports(in)
	}
	t.queue.init()
}

// resetReports forgets the sender reports, which tell of timestamps that ended.
func (t *trackInput) resetReports(in *Input) {
	t.snd.reset(in.clockOf(other(t.kind)).snd.shift)
	t.mark = mark{}
}

// ours says whether packets of this format belong to the track as it is.
func (t *trackInput) ours(f *Format) bool {
	return f != nil && f.Codec.Name() == t.track.Codec && f.ClockRate == t.track.ClockRate
}

// push takes a packet from the network.
func (t *trackInput) push(in *Input, p *rtp.Packet, local time.Duration) {
	t.stats.Packets++
	t.stats.Bytes += uint64(len(p.Payload))
	f := t.formats[p.PayloadType&0x7f]
	timed := f != nil && f.ClockRate == t.track.ClockRate
	ssrc := t.src.ssrc
	arrivals := t.src.accept(p, local, f != nil, timed)
	if len(arrivals) == 0 {
		return
	}
	if ssrc != t.src.ssrc {
		t.resetReports(in)
	}
	if timed {
		t.ended = false
		if p.Timestamp != t.sent[t.sentAt].ts {
			t.sentAt = (t.sentAt + 1) % sentFrames
			t.sent[t.sentAt] = sentFrame{p.Timestamp, local}
		}
		if !t.asking && t.waitKey && !t.everAsk {
			t.asking, t.askSince = true, local
		}
	}
	if t.ahead.set && timed {
		t.takeEarly(in, local)
	}
	if t.mark.awaited && timed {
		t.mark = mark{off: t.src.clock.lastOff, set: true}
	}
	t.jb.jitter = t.src.clock.jitter
	for _, a := range arrivals {
		if a.jump {
			t.resetReports(in)
		}
		if !t.jb.push(a) {
			t.drain(in, local, true)
			if !t.jb.push(a) {
				if t.jb.skip(a.seq) > 0 {
					t.lost = true
				}
				t.jb.push(a)
			}
		}
		t.drain(in, local, false)
	}
}

// drain moves packets whose turn has come on, and returns when the next hole is given up.
func (t *trackInput) drain(in *Input, local time.Duration, force bool) time.Duration {
	for {
		a, lost, next, ok := t.jb.pop(local, force)
		if !ok {
			return next
		}
		if lost > 0 || a.epoch != t.epoch {
			t.lost, t.epoch = true, a.epoch
		}
		if a.jump {
			t.gap = true
		}
		t.packet(in, a, local)
	}
}

// packet takes the next packet in order.
func (t *trackInput) packet(in *Input, a arrived, local time.Duration) {
	f := t.formats[a.p.PayloadType&0x7f]
	if f != nil && !t.ours(f) {
		t.codecChange(in, a.p.PayloadType, f)
		f = t.formats[a.p.PayloadType&0x7f] // the hook may have changed the track
	}
	if t.lost {
		t.gap = true
		if t.kind == media.Video {
			t.needKey(local)
		}
	}
	if t.noise[a.p.PayloadType&0x7f] {
		t.silence(in, a, local)
		return
	}
	if !t.ours(f) {
		t.stats.Ignored++ // telephone-event, another codec
		return
	}
	if len(a.p.Payload) == 0 {
		return // padding; a loss is told with the next packet that holds something
	}
	t.ptSeen = false
	units := t.depack.Push(a.p, t.lost)
	t.lost = false
	for i := range units {
		t.unit(in, &units[i], a, local)
	}
	t.prev, t.prevSet = arrived{at: a.at, media: a.media}, true
	t.prev.p = a.p
}

// codecChange reports the first of a run of packets in another negotiated codec.
func (t *trackInput) codecChange(in *Input, pt uint8, f *Format) {
	t.stats.OtherCodec++
	if t.ptSeen && t.lastPT == pt {
		return
	}
	t.ptSeen, t.lastPT = true, pt
	t.stats.CodecChanges++
	if in.OnCodecChange != nil {
		in.OnCodecChange(t.kind, pt, *f)
	}
}

// unit makes a frame of an access unit, unless no decoder could use it.
func (t *trackInput) unit(in *Input, u *codecs.AccessUnit, a arrived, local time.Duration) {
	at, m := a.at, a.media
	if u.Timestamp != a.p.Timestamp && t.prevSet {
		// Closed by a packet that is not part of it.
		at = t.prev.at
		m = t.prev.media + rtpTime(int64(int32(u.Timestamp-t.prev.p.Timestamp)), t.track.ClockRate)
	}
	if t.order.depth == 0 {
		t.reached = max(t.reached, m)
	}
	if u.Damaged || len(u.Data) == 0 {
		t.stats.Damaged++
		t.gap = true
		if t.kind == media.Video {
			t.needKey(local)
		}
		return
	}
	params := t.codec.Params(t.params, u.Data)
	if params != nil {
		t.params = params
	}
	key := t.kind == media.Audio || t.codec.Keyframe(u.Data)
	if t.kind == media.Video && t.waitKey {
		if !key || t.params == nil {
			t.stats.Dropped++
			t.gap = t.gap || t.hasFrame
			t.needKey(local)
			return
		}
		t.answered(local)
	}
	t.frame(in, u, at, m, key, local)
}

func (t *trackInput) frame(in *Input, u *codecs.AccessUnit, at, m time.Duration, key bool, local time.Duration) {
	f := t.newFrame()
	*f = media.Frame{Track: t.track, Params: t.params, Key: key, Data: u.Data, Packets: u.Packets, Arrival: in.start.Add(at)}
	if t.kind == media.Audio {
		if f.Duration = t.codec.Duration(u.Data); f.Duration <= 0 {
			f.Duration = defaultDuration
		}
		in.sync.audio.packet = f.Duration
		// Silence that was not sent is no loss, but it is a hole in the sound
		// unless the sender said what to put there.
		if t.hasFrame && !t.quiet && m-t.end > max(f.Duration, defaultDuration) {
			t.gap = true
		}
		t.quiet = false
	}
	f.Gap = t.gap && t.hasFrame
	dts := m
	if t.kind == media.Video {
		if f.Gap || !t.order.begun {
			t.order.reset(t.params)
		}
		dts = t.order.place(m, t.params)
	}
	t.gap, t.hasFrame = false, true
	t.end = m + f.Duration
	t.reached = max(t.reached, dts+f.Duration)
	if t.kind == media.Audio && in.gen.delay > 0 {
		in.realSound(t, m, local)
	}
	t.queue.push(pending{f: f, media: dts, ahead: m - dts, since: at, size: f.Size()})
}

func (t *trackInput) newFrame() *media.Frame {
	if len(t.chunk) == 0 {
		t.chunk = make([]media.Frame, frameChunk)
	}
	f := &t.chunk[0]
	t.chunk = t.chunk[1:]
	return f
}

// needKey notes that decoding cannot go on without a key frame.
func (t *trackInput) needKey(local time.Duration) {
	t.waitKey, t.asking = true, true
	t.askSince = local - askAfter // no more patience
}

// answered ends the wait for a key frame.
func (t *trackInput) answered(local time.Duration) {
	if t.requested {
		t.stats.KeyframeAnswers++
		t.stats.KeyframeWait += local - t.firstAsk
	}
	t.waitKey, t.asking, t.requested = false, false, false
}

// ask requests a key frame when it is time, and returns when it will be next (0: not needed).
func (t *trackInput) ask(local time.Duration) time.Duration {
	if !t.asking || t.ended || local-t.src.clock.last > asleepAfter {
		return 0 // a sender on hold is asked again when it goes on
	}
	due := t.askSince + askAfter
	if t.everAsk {
		due = max(due, t.asked+askEvery)
	}
	if local < due {
		return due
	}
	if !t.requested {
		t.requested, t.firstAsk = true, local
	}
	t.asked, t.everAsk = local, true
	t.stats.KeyframeRequests++
	t.track.AskKeyframe()
	return local + askEvery
}
