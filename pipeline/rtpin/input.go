package rtpin

import (
	"fmt"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"

	"lineout/codecs"
	"lineout/media"
)

// Format is what a payload type means.
type Format struct {
	Codec codecs.Codec
	// ClockRate is the RTP clock in Hz.
	ClockRate int
	// Fmtp is the parameter string of SDP's a=fmtp, "" if none.
	Fmtp string
}

// TrackSpec describes a track to receive.
type TrackSpec struct {
	Track *media.Track
	// Formats are all negotiated payload types. Those of the track's codec and
	// clock rate feed it; others are reported by OnCodecChange; types that are
	// not here (telephone-event) are counted and left out.
	Formats map[uint8]Format
	// Noise are payload types of comfort noise (RFC 3389) on the track's clock.
	Noise []uint8
	// Expected says that media should come; see Expect.
	Expected bool
}

// Input turns the RTP of one leg into frames. All methods are called from one
// goroutine, which also runs the hooks.
type Input struct {
	// OnCodecChange is called when packets of another negotiated codec than
	// the track's begin to come. It may call AddTrack with a new track of that
	// kind; then not even the packet that showed the change is lost. May be nil.
	OnCodecChange func(k media.Kind, payloadType uint8, f Format)

	cfg      Config
	start    time.Time
	hold     time.Duration // 0: rtp_in_buffer is off
	tracks   [media.Video + 1]*trackInput
	expected [media.Video + 1]bool
	sync     avSync
	gen      generator
	offsets  histogram // of the pictures' distance from their place
	unknown  uint64    // packets of a kind without a track
}

// NewInput returns an Input without tracks. start is the zero of local time,
// at or before the first packet's arrival.
func NewInput(cfg Config, start time.Time) *Input {
	in := &Input{cfg: cfg, start: start}
	if cfg.InBuffer {
		in.hold = cfg.InBufferMax
	}
	in.gen.delay = cfg.GeneratorDelay
	in.sync.slew = max(cfg.SyncSlew, 1)
	in.sync.mode = SyncNone
	in.sync.audio.packet = defaultDuration
	in.sync.audio.src, in.sync.video.src = &source{}, &source{}
	in.sync.audio.snd, in.sync.video.snd = &senderClock{}, &senderClock{}
	return in
}

// Expect says whether media of a kind should come although its track is not
// added yet. With rtp_in_buffer the stream's start waits for expected tracks,
// at most rtp_in_buffer_max.
func (in *Input) Expect(k media.Kind, on bool) {
	if k == media.Audio || k == media.Video {
		in.expected[k] = on
	}
}

// AddTrack adds a track before or at its first packet, or late in the call; it
// never moves the frames of the other track. A second track of a kind replaces
// the first (the sender changed its codec): the timeline goes on, the first
// new frame carries Gap.
func (in *Input) AddTrack(spec TrackSpec) error {
	tr := spec.Track
	if tr == nil || tr.Kind != media.Audio && tr.Kind != media.Video {
		return fmt.Errorf("adding a track to the RTP input: it must be audio or video")
	}
	if tr.ClockRate <= 0 {
		return fmt.Errorf("adding %s track %s to the RTP input: its clock rate is %d Hz", tr.Kind, tr.Codec, tr.ClockRate)
	}
	found := false
	for pt, f := range spec.Formats {
		if f.Codec == nil || f.ClockRate <= 0 || pt > 127 {
			return fmt.Errorf("adding %s track %s to the RTP input: payload type %d has no codec or no clock rate", tr.Kind, tr.Codec, pt)
		}
		found = found || f.Codec.Name() == tr.Codec && f.ClockRate == tr.ClockRate
	}
	if !found {
		return fmt.Errorf("adding %s track %s to the RTP input: no payload type carries that codec at %d Hz", tr.Kind, tr.Codec, tr.ClockRate)
	}
	t := in.tracks[tr.Kind]
	if t == nil {
		t = &trackInput{}
		in.tracks[tr.Kind] = t
	}
	t.spec(in, spec)
	c := t.clock(in)
	c.src, c.snd = &t.src, &t.snd
	in.expected[tr.Kind] = in.expected[tr.Kind] || spec.Expected
	return nil
}

// PushRTP takes a packet that arrived at the given time. The Input keeps p.
// Packets of a kind without a track are counted and dropped.
func (in *Input) PushRTP(k media.Kind, p *rtp.Packet, at time.Time) {
	t := in.byKind(k)
	if t == nil || p == nil {
		in.unknown++
		return
	}
	local := in.local(at)
	if in.gen.delay > 0 && in.gen.since == 0 {
		in.gen.since = local
	}
	t.push(in, p, local)
	in.sync.update(local)
}

// PushRTCP takes RTCP that arrived with a track: sender reports and BYE.
func (in *Input) PushRTCP(k media.Kind, pkts []rtcp.Packet, at time.Time) {
	local := in.local(at)
	for _, p := range pkts {
		switch p := p.(type) {
		case *rtcp.SenderReport:
			if t := in.bySSRC(k, p.SSRC); t != nil {
				t.report(in, p, local)
			} else if t := in.byKind(k); t != nil {
				t.early(p, local)
			}
		case *rtcp.Goodbye:
			for _, ssrc := range p.Sources {
				if t := in.bySSRC(k, ssrc); t != nil {
					t.ended = true
				}
			}
		}
	}
	in.sync.update(local)
}

// Poll hands on the frames that are due, in order, and asks for key frames. It
// returns when to call it again at the latest; the zero time means only after
// the next push. Call it after every push, too.
func (in *Input) Poll(now time.Time, emit func(*media.Frame)) (next time.Time) {
	local := in.local(now)
	due := time.Duration(0)
	soonest := func(d time.Duration) {
		if d > 0 && (due == 0 || d < due) {
			due = d
		}
	}
	for _, t := range in.tracks {
		if t == nil {
			continue
		}
		soonest(t.drain(in, local, false))
		soonest(t.ask(local))
	}
	if in.gen.delay > 0 {
		if in.gen.since == 0 {
			in.gen.since = max(local, 1)
		}
		soonest(in.fill(local))
	}
	in.sync.update(local)
	soonest(in.release(local, emit, false))
	if due == 0 {
		return time.Time{}
	}
	return in.start.Add(max(due, local+time.Millisecond))
}

// Flush hands on everything that is held, at the end of the call.
func (in *Input) Flush(now time.Time, emit func(*media.Frame)) {
	local := in.local(now)
	for _, t := range in.tracks {
		if t != nil {
			t.drain(in, local, true)
		}
	}
	in.sync.update(local)
	in.release(local, emit, true)
}

// local is a time since start, kept in a range that cannot overflow.
func (in *Input) local(at time.Time) time.Duration {
	return min(max(at.Sub(in.start), 0), 10*365*24*time.Hour)
}

func (in *Input) byKind(k media.Kind) *trackInput {
	if int(k) >= len(in.tracks) {
		return nil
	}
	return in.tracks[k]
}

// bySSRC finds the track of a sender: of kind k if that fits, for both kinds
// may share one port.
func (in *Input) bySSRC(k media.Kind, ssrc uint32) *trackInput {
	if t := in.byKind(k); t != nil && t.src.segments > 0 && t.src.ssrc == ssrc {
		return t
	}
	for _, t := range in.tracks {
		if t != nil && t.src.segments > 0 && t.src.ssrc == ssrc {
			return t
		}
	}
	return nil
}

func other(k media.Kind) media.Kind { return media.Audio + media.Video - k }

func (t *trackInput) clock(in *Input) *trackClock { return in.clockOf(t.kind) }

func (in *Input) clockOf(k media.Kind) *trackClock {
	if k == media.Audio {
		return &in.sync.audio
	}
	return &in.sync.video
}
