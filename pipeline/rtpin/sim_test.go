package rtpin

import (
	"container/heap"
	"encoding/binary"
	"math"
	"math/rand"
	"slices"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"

	"lineout/codecs"
	"lineout/codecs/g711"
	"lineout/media"
)

// A simulated sender with a capture clock: every frame carries in its payload
// when it was captured, so the true A/V error of every frame that comes out
// can be measured.

var t0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const ms = time.Millisecond

// pictureCodec is a video codec whose frames say what they refer to. Payload:
// capture time (8), picture number (4), flags (1: key), packet index (1),
// packet count (1).
type pictureCodec struct{}

const pictureHeader = 15

func (pictureCodec) Name() media.Codec               { return "TEST" }
func (pictureCodec) Kind() media.Kind                { return media.Video }
func (pictureCodec) ClockRate() int                  { return 90000 }
func (pictureCodec) Duration([][]byte) time.Duration { return 0 }
func (pictureCodec) Keyframe(d [][]byte) bool        { return d[0][12] == 1 }
func (pictureCodec) NewPacketizer(int) codecs.Packetizer {
	panic("not used")
}
func (pictureCodec) NewDepacketizer() codecs.Depacketizer { return &pictureDepacketizer{} }
func (pictureCodec) Params(prev *media.Params, d [][]byte) *media.Params {
	if prev == nil && d[0][12] == 1 {
		return &media.Params{Width: 640, Height: 360}
	}
	return prev
}

type pictureDepacketizer struct {
	parts [][]byte
	pkts  []*rtp.Packet
	out   [1]codecs.AccessUnit
}

func (d *pictureDepacketizer) Push(p *rtp.Packet, lost bool) []codecs.AccessUnit {
	if len(p.Payload) < pictureHeader {
		return nil
	}
	idx, count := int(p.Payload[13]), int(p.Payload[14])
	if idx == 0 || lost || len(d.pkts) > 0 && d.pkts[0].Timestamp != p.Timestamp {
		d.parts, d.pkts = nil, nil
	}
	d.parts, d.pkts = append(d.parts, p.Payload), append(d.pkts, p)
	if idx != count-1 {
		return nil
	}
	d.out[0] = codecs.AccessUnit{Timestamp: p.Timestamp, Data: d.parts, Packets: d.pkts, Damaged: len(d.parts) != count}
	d.parts, d.pkts = nil, nil
	return d.out[:]
}

// tester is what *testing.T and *rapid.T have in common.
type tester interface {
	Helper()
	Logf(string, ...any)
	Errorf(string, ...any)
	Fatalf(string, ...any)
	Fatal(...any)
}

// flow is one simulated track.
type flow struct {
	start, end time.Duration // of capture
	interval   time.Duration
	ppm        float64       // how fast its sample clock runs
	latency    time.Duration // capture to sending
	delay      time.Duration // network
	jitter     func(*rand.Rand) time.Duration
	loss, dup  float64
	burst      time.Duration // nothing arrives before
	silent     [][2]time.Duration
	stall      stall
	frozen     bool            // timestamps stand still while silent
	newSSRC    []time.Duration // when the source restarts
	newBase    []time.Duration // when only the timestamps restart
	keyEvery   int             // pictures
	quietSR    bool
	srFirst    time.Duration
	srEvery    time.Duration
	srTime     func(t time.Duration) time.Duration               // wall clock of the reports
	srStamp    func(r *rand.Rand, t time.Duration) time.Duration // error of the reports' timestamp
	srStuck    bool                                              // timestamp of the last frame
	srSent     bool                                              // the same, carried on from when it was sent
	srDelay    time.Duration                                     // of reports, more than packets'
	srEnd      time.Duration                                     // no reports from then on
	encode     func(*rand.Rand) time.Duration                    // what each frame takes more than latency; the next one waits for it

	kind     media.Kind
	next     time.Duration
	seq      uint16
	ssrc     uint32
	tsBase   uint32
	held     time.Duration // total freeze of timestamps
	mark     sentAt        // the packet that the newest report was carried on from
	toMark   []sentAt      // packets sent since
	lastTS   uint32
	picture  uint32
	wantKey  bool
	sinceKey int
	nextSR   time.Duration
	captured int
	lastSent time.Duration
	restarts []time.Duration // start, newSSRC, newBase
	rough    time.Duration   // the greatest jitter near a restart or a report
}

// stall is a sender that stops at a time and then catches up.
type stall struct {
	at, length time.Duration
	speed      float64 // times real time
}

// sent is when what should be sent at t is.
func (s stall) sent(t time.Duration) time.Duration {
	if s.length == 0 || t < s.at {
		return t
	}
	return max(t, s.at+s.length+time.Duration(float64(t-s.at)/s.speed))
}

// decisive says whether what is sent at t decides by its arrival where the track
// lies: near the begin of a source or of timestamps, and a report.
func (f *flow) decisive(t time.Duration) bool {
	const near = 400 * ms
	for _, r := range f.restarts {
		if d := t - r; d >= 0 && d < near {
			return true
		}
	}
	since := (t - f.start + f.srEvery - f.srFirst%f.srEvery) % f.srEvery // a report
	return !f.quietSR && (since < ms || since > f.srEvery-near)
}

type sentAt struct {
	ts uint32
	at time.Duration
}

// carried is the timestamp at t that a sender makes of that of the first packet
// it sent after the report before (baresip).
func (f *flow) carried(t time.Duration) uint32 {
	if len(f.toMark) > 0 && f.toMark[0].at <= t {
		f.mark = f.toMark[0]
	}
	for len(f.toMark) > 0 && f.toMark[0].at <= t {
		f.toMark = f.toMark[1:]
	}
	return f.mark.ts + uint32((t-f.mark.at).Milliseconds())*uint32(f.rate()/1000)
}

func (f *flow) rate() float64 {
	if f.kind == media.Audio {
		return 8000
	}
	return 90000
}

func (f *flow) ts(t time.Duration) uint32 {
	return f.tsBase + uint32(int64(math.Round((t-f.held).Seconds()*(1+f.ppm*1e-6)*f.rate())))
}

type event struct {
	at   time.Duration
	n    int
	kind media.Kind
	p    *rtp.Packet
	rtcp []rtcp.Packet
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].n < e[j].n
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	o := *e
	x := o[len(o)-1]
	*e = o[:len(o)-1]
	return x
}

// outFrame is a frame that came out, and when.
type outFrame struct {
	*media.Frame
	at       time.Duration
	captured time.Duration
	picture  uint32
}

type sim struct {
	tb     tester
	cfg    Config
	rnd    *rand.Rand
	flows  []*flow
	in     *Input
	q      events
	n      int
	frames []outFrame
	now    time.Duration
}

func newSim(tb tester, cfg Config, seed int64, a, v *flow) *sim {
	s := &sim{tb: tb, cfg: cfg, rnd: rand.New(rand.NewSource(seed)), in: NewInput(cfg, t0)}
	for _, f := range []*flow{a, v} {
		if f == nil {
			continue
		}
		f.kind = media.Audio
		if f == v {
			f.kind = media.Video
		}
		if f.interval == 0 {
			f.interval = 20 * ms
			if f == v {
				f.interval = 40 * ms
			}
		}
		if f.keyEvery == 0 {
			f.keyEvery = 250
		}
		if f.delay == 0 {
			f.delay = 10 * ms
		}
		if f.srEvery == 0 {
			f.srFirst, f.srEvery = 5*time.Second, 5*time.Second
		}
		f.next, f.nextSR = f.start, f.start+f.srFirst
		f.restarts = slices.Concat([]time.Duration{f.start}, f.newSSRC, f.newBase)
		f.seq, f.ssrc, f.tsBase, f.wantKey = uint16(s.rnd.Uint32()), s.rnd.Uint32(), s.rnd.Uint32(), true
		s.in.Expect(f.kind, true)
		s.flows = append(s.flows, f)
	}
	return s
}

func (s *sim) push(e event) {
	e.n = s.n
	s.n++
	heap.Push(&s.q, e)
}

func (s *sim) arrival(f *flow, sent time.Duration) time.Duration {
	d := f.delay
	if f.jitter != nil {
		j := f.jitter(s.rnd)
		if d += j; f.decisive(sent) {
			f.rough = max(f.rough, j)
		}
	}
	return max(f.stall.sent(sent)+d, f.burst)
}

// capture makes the packets of one frame.
func (s *sim) capture(f *flow) {
	t := f.next
	f.next += f.interval
	f.captured++
	for len(f.newSSRC) > 0 && t >= f.newSSRC[0] {
		f.newSSRC = f.newSSRC[1:]
		f.ssrc, f.seq, f.tsBase, f.wantKey = s.rnd.Uint32(), uint16(s.rnd.Uint32()), s.rnd.Uint32(), true
	}
	for len(f.newBase) > 0 && t >= f.newBase[0] {
		f.newBase, f.tsBase = f.newBase[1:], s.rnd.Uint32()
	}
	for _, w := range f.silent {
		if t >= w[0] && t < w[1] {
			if f.frozen {
				f.held += f.interval
			}
			return
		}
	}
	f.lastTS = f.ts(t)
	count := 1
	if f.kind == media.Video {
		count = 1 + s.rnd.Intn(4)
		if f.wantKey || f.sinceKey >= f.keyEvery {
			f.wantKey, f.sinceKey, count = false, 0, 12
		}
		f.sinceKey++
		f.picture++
	}
	late := f.latency
	if f.encode != nil {
		late += f.encode(s.rnd)
	}
	for i := range count {
		size := 160 // of G.711, 20 ms
		if f.kind == media.Video {
			size = pictureHeader
		}
		b := make([]byte, size)
		binary.BigEndian.PutUint64(b, uint64(t))
		binary.BigEndian.PutUint32(b[8:], f.picture)
		if count == 12 {
			b[12] = 1
		}
		b[13], b[14] = byte(i), byte(count)
		p := &rtp.Packet{Header: rtp.Header{Version: 2, PayloadType: payloadType(f.kind), SequenceNumber: f.seq, Timestamp: f.lastTS, SSRC: f.ssrc, Marker: i == count-1}, Payload: b}
		f.seq++
		sent := max(t+late+time.Duration(i)*200*time.Microsecond, f.lastSent)
		f.lastSent = sent
		if f.srSent {
			f.toMark = append(f.toMark, sentAt{f.lastTS, sent})
		}
		if s.rnd.Float64() < f.loss {
			continue
		}
		s.push(event{at: s.arrival(f, sent), kind: f.kind, p: p})
		if s.rnd.Float64() < f.dup {
			s.push(event{at: s.arrival(f, sent), kind: f.kind, p: p.Clone()})
		}
	}
}

func payloadType(k media.Kind) uint8 {
	if k == media.Audio {
		return 8
	}
	return 96
}

func (s *sim) report(f *flow) {
	t := f.nextSR
	f.nextSR += f.srEvery
	if f.quietSR || f.srEnd > 0 && t > f.srEnd {
		return
	}
	wall := t
	if f.srTime != nil {
		wall = f.srTime(t)
	}
	stamp := f.ts(t)
	if f.srStuck {
		sent := t - f.latency - f.start // the newest frame that has left
		stamp = f.ts(f.start + max(sent, 0)/f.interval*f.interval)
	}
	if f.srSent {
		stamp = f.carried(t)
	}
	if f.srStamp != nil {
		stamp += uint32(int64(f.srStamp(s.rnd, t).Seconds() * f.rate()))
	}
	at := t0.Add(wall)
	ntp := uint64(at.Unix()+2208988800)<<32 | uint64(at.Nanosecond())<<32/1e9
	s.push(event{at: s.arrival(f, t) + f.srDelay, kind: f.kind, rtcp: []rtcp.Packet{&rtcp.SenderReport{SSRC: f.ssrc, NTPTime: ntp, RTPTime: stamp}}})
}

func (s *sim) emit(f *media.Frame) {
	o := outFrame{Frame: f, at: s.now}
	if !f.Filler {
		o.captured = time.Duration(binary.BigEndian.Uint64(f.Data[0]))
		o.picture = binary.BigEndian.Uint32(f.Data[0][8:])
	}
	s.frames = append(s.frames, o)
}

func formats(k media.Kind) map[uint8]Format {
	if k == media.Audio {
		return map[uint8]Format{8: {Codec: g711.CodecPCMA, ClockRate: 8000}, 0: {Codec: g711.CodecPCMU, ClockRate: 8000}}
	}
	return map[uint8]Format{96: {Codec: pictureCodec{}, ClockRate: 90000}}
}

func (s *sim) track(k media.Kind) {
	if s.in.tracks[k] != nil {
		return
	}
	tr := &media.Track{ID: k.String(), Kind: k, Codec: g711.PCMA, ClockRate: 8000}
	if k == media.Video {
		f := s.flows[len(s.flows)-1]
		tr.Codec, tr.ClockRate = "TEST", 90000
		tr.RequestKeyframe = func() { f.wantKey = true }
	}
	if err := s.in.AddTrack(TrackSpec{Track: tr, Formats: formats(k), Expected: true}); err != nil {
		s.tb.Fatal(err)
	}
}

// run simulates until all flows have ended, polling exactly when asked to.
func (s *sim) run() *sim {
	due := noOffset
	for {
		at, f := noOffset, (*flow)(nil)
		sr := false
		for _, c := range s.flows {
			if c.next < c.end && c.next < at {
				at, f, sr = c.next, c, false
			}
			if c.nextSR < c.end && c.nextSR < at {
				at, f, sr = c.nextSR, c, true
			}
		}
		if len(s.q) > 0 && s.q[0].at < at {
			at, f = s.q[0].at, nil
		}
		if at == noOffset && due > s.end() {
			break
		}
		if due < at {
			s.now = due
			due = s.poll()
			continue
		}
		s.now = at
		switch {
		case f != nil && sr:
			s.report(f)
			continue
		case f != nil:
			s.capture(f)
			continue
		}
		e := heap.Pop(&s.q).(event)
		if e.p != nil {
			s.track(e.kind)
			s.in.PushRTP(e.kind, e.p, t0.Add(e.at))
		} else {
			s.in.PushRTCP(e.kind, e.rtcp, t0.Add(e.at))
		}
		due = s.poll()
	}
	s.in.Flush(t0.Add(s.now), s.emit)
	return s
}

// end is when everything sent has arrived and every hold is over.
func (s *sim) end() (t time.Duration) {
	for _, f := range s.flows {
		t = max(t, f.end)
	}
	return t + 3*time.Second
}

func (s *sim) poll() time.Duration {
	next := s.in.Poll(t0.Add(s.now), s.emit)
	if next.IsZero() {
		return noOffset
	}
	d := next.Sub(t0)
	if d <= s.now {
		s.tb.Fatalf("Poll at %v asks to be called at %v", s.now, d)
	}
	if d > s.now+time.Minute {
		s.tb.Fatalf("Poll at %v asks to be called in %v", s.now, d-s.now)
	}
	return d
}

func (s *sim) of(k media.Kind) (out []outFrame) {
	for _, f := range s.frames {
		if f.Track.Kind == k {
			out = append(out, f)
		}
	}
	return out
}

// check holds what must be true of every output, whatever went in.
func (s *sim) check() *sim {
	s.tb.Helper()
	last := map[media.Kind]*outFrame{}
	for i := range s.frames {
		f := &s.frames[i]
		p := last[f.Track.Kind]
		if f.DTS < 0 || f.PTS != f.DTS {
			s.tb.Fatalf("%v frame %d: DTS %v PTS %v", f.Track.Kind, i, f.DTS, f.PTS)
		}
		if p != nil && f.DTS <= p.DTS {
			s.tb.Fatalf("%v frame %d: DTS %v after %v", f.Track.Kind, i, f.DTS, p.DTS)
		}
		if p != nil && !f.Filler && !p.Filler && f.captured <= p.captured {
			s.tb.Fatalf("%v frame %d: captured %v after %v", f.Track.Kind, i, f.captured, p.captured)
		}
		if p != nil && f.Filler != p.Filler && f.DTS < p.DTS+p.Duration {
			s.tb.Fatalf("filler overlaps at %v", f.DTS)
		}
		if f.Track.Kind == media.Video {
			if p == nil && !f.Key || p != nil && !f.Key && f.picture != p.picture+1 {
				s.tb.Fatalf("picture %d at %v was handed on without what it refers to", f.picture, f.DTS)
			}
			if f.Params == nil {
				s.tb.Fatal("a picture without parameters")
			}
			if p != nil && f.picture != p.picture+1 && !f.Gap {
				s.tb.Fatalf("pictures are missing before %d, Gap is not set", f.picture)
			}
		}
		last[f.Track.Kind] = f
	}
	return s
}

// errors returns the true |A/V error| of every picture captured from..to, sorted.
func (s *sim) errors(from, to time.Duration) []time.Duration {
	var audio []outFrame
	for _, f := range s.of(media.Audio) {
		if !f.Filler {
			audio = append(audio, f)
		}
	}
	var errs []time.Duration
	i := 0
	for _, v := range s.of(media.Video) {
		if v.captured < from || v.captured >= to {
			continue
		}
		for i+1 < len(audio) && audio[i+1].captured <= v.captured {
			i++
		}
		if i >= len(audio) {
			break
		}
		best := audio[i]
		if i+1 < len(audio) && audio[i+1].captured-v.captured < v.captured-best.captured {
			best = audio[i+1]
		}
		if d := best.captured - v.captured; d > 300*ms || d < -300*ms {
			continue // no sound to be in step with
		}
		e := (v.DTS - v.captured) - (best.DTS - best.captured)
		errs = append(errs, max(e, -e))
	}
	slices.Sort(errs)
	return errs
}

// bound checks the greatest A/V error of pictures captured from..to and logs
// the distribution.
func (s *sim) bound(name string, from, to, limit time.Duration) {
	s.tb.Helper()
	errs := s.errors(from, to)
	if len(errs) == 0 {
		s.tb.Fatalf("%s: no picture to measure", name)
	}
	n := len(errs)
	r := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	s.tb.Logf("%-44s n=%6d |A/V error| p50 %6.1f p99 %6.1f max %6.1f ms", name, n, r(errs[n/2]), r(errs[n*99/100]), r(errs[n-1]))
	if errs[n-1] > limit {
		s.tb.Errorf("%s: A/V error of up to %v, limit %v", name, errs[n-1], limit)
	}
}

func exponential(mean time.Duration) func(*rand.Rand) time.Duration {
	return func(r *rand.Rand) time.Duration { return min(time.Duration(r.ExpFloat64()*float64(mean)), 20*mean) }
}

func uniform(lo, hi time.Duration) func(*rand.Rand, time.Duration) time.Duration {
	return func(r *rand.Rand, _ time.Duration) time.Duration { return lo + time.Duration(r.Int63n(int64(hi-lo))) }
}
