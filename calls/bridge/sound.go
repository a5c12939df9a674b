package bridge

import (
	"time"

	"lineout/calls/pack"
	"lineout/codecs"
	"lineout/media"
)

const (
	// concealMost is the longest hole left by lost packets that is filled with
	// invented sound, in one piece and late. Longer ones stay holes.
	concealMost = 100 * time.Millisecond
	// holeMin is the shortest hole; less is wobble of the timestamps.
	holeMin = 10 * time.Millisecond
	// leapMost is by how much timestamps may leap ahead of the time that passed.
	leapMost = 500 * time.Millisecond
)

// sound converts sound. The conversion sees a timeline without holes, since it
// would fill them all at once when they are over; what is left out for it is
// put back into the timestamps of what it makes.
type sound struct {
	f      *flow
	plan   *plan
	failed *plan // under which a conversion could not be made

	from media.Codec
	in   codecs.Codec
	conv codecs.Conversion
	hz   int

	clock   unwrapper
	resume  bool          // the next packet begins a new row
	skew    time.Duration // left out so far: the source's time less the conversion's
	back    time.Duration // put back: ours less the conversion's
	end     time.Duration // of the sound so far, the conversion's time
	arrived time.Time     // of the newest packet
	length  time.Duration // of the newest packet

	packer *pack.Sound
	stream stream
	marker bool
	at     time.Time // arrival of the packet that is being converted
	frame  media.Frame
	data   [1][]byte
	emit   func(*media.Frame)
	digit  [4]byte
}

func newSound(f *flow) *sound {
	s := &sound{f: f, stream: newStream(), resume: true}
	s.emit = func(fr *media.Frame) { _ = s.packer.Write(epoch.Add(fr.PTS), fr) } // its errors are those of send, which are counted
	return s
}

// epoch is time 0 of the conversion, for those who count in moments.
var epoch = time.Unix(0, 0)

func (s *sound) restart() { s.resume = true }

func (s *sound) close() {
	if s.conv != nil {
		_ = s.conv.Close() // nothing is left to be told
		s.conv = nil
	}
}

func (s *sound) packet(it item, lost int) {
	s.adopt(it.plan)
	r := &it.plan.routes[it.p.PayloadType&0x7f]
	switch {
	case r.how == convert:
		s.convert(r, it, lost)
	case it.turned && (s.conv == nil || s.resume):
		s.f.counters.dropped.Add(1) // there is nothing yet that it could be beside
	case it.turned && (r.how == event || r.how == noise):
		payload := it.p.Payload
		if r.how == event {
			payload = reclock(&s.digit, payload, r.hz, r.outHz)
		}
		s.at = it.at
		s.send(r.pt, s.clock.at(it.p.Timestamp, s.hz)-s.skew, it.p.Marker, payload)
	default:
		s.f.direct(r, it.p, it.at)
	}
}

// adopt takes over a change of what was agreed.
func (s *sound) adopt(p *plan) {
	if s.plan == p {
		return
	}
	if s.plan == nil || s.plan.out != p.out || s.plan.packetTime != p.packetTime {
		s.close()
		s.packer = nil
	}
	s.plan = p
}

// open makes the conversion for a codec of the source.
func (s *sound) open(r *route) bool {
	if s.conv != nil && s.from == r.codec && s.hz == r.hz {
		return true
	}
	if s.failed == s.plan {
		return false
	}
	s.close()
	conv, err := r.converter.New(&media.Track{ID: "audio", Kind: media.Audio, Codec: r.codec, ClockRate: r.hz, Channels: r.channels}, codecs.Options{Prompt: true, Log: s.f.b.log})
	if err != nil {
		s.failed = s.plan
		s.f.counters.failed(err)
		s.f.b.log.Error("sound of joined calls cannot be converted", "way", s.f.name, "from", r.codec, "to", s.plan.out.Codec, "err", err)
		return false
	}
	s.conv, s.from, s.hz, s.in, s.resume = conv, r.codec, r.hz, s.f.b.table.Get(r.codec), true
	if s.packer == nil {
		out := s.plan.out
		s.packer = pack.NewSound(s.f.b.table.Get(out.Codec), s.plan.packetTime, func(at time.Time, _ time.Duration, payload []byte) error {
			s.send(out.PayloadType, at.Sub(epoch), s.marker, payload)
			s.marker = false
			return nil
		})
	}
	return true
}

func (s *sound) convert(r *route, it item, lost int) {
	if !s.open(r) {
		s.f.counters.dropped.Add(1)
		return
	}
	s.data[0] = it.p.Payload
	length := s.in.Duration(s.data[:])
	if length <= 0 {
		s.f.counters.dropped.Add(1)
		return
	}
	pts := s.place(it, lost)
	s.end, s.arrived, s.length, s.at = pts+length, it.at, length, it.at
	s.frame = media.Frame{PTS: pts, DTS: pts, Duration: length, Arrival: it.at, Key: true, Gap: lost > 0, Data: s.data[:]}
	s.f.counters.converted.Add(1)
	if err := s.conv.Convert(&s.frame, s.emit); err != nil {
		s.failed = s.plan
		s.f.counters.failed(err)
		s.f.b.log.Error("sound of joined calls cannot be converted any more", "way", s.f.name, "err", err)
		s.close()
	}
}

// place finds where a packet lies for the conversion.
func (s *sound) place(it item, lost int) time.Duration {
	if s.resume { // goes on by the clock
		s.resume, s.clock = false, unwrapper{}
		s.skew = s.clock.at(it.p.Timestamp, s.hz) - s.end
		if !s.arrived.IsZero() {
			s.back += max(it.at.Sub(s.arrived)-s.length, 0)
		}
		s.marker = true
		return s.end
	}
	pts := s.clock.at(it.p.Timestamp, s.hz) - s.skew
	hole := pts - s.end
	if lost > 0 && hole <= concealMost && hole > -holeMin || hole.Abs() < holeMin {
		return pts
	}
	s.skew += hole
	s.back += min(max(hole, 0), max(it.at.Sub(s.arrived), 0)+leapMost)
	s.marker = true
	return s.end
}

// send gives the other leg a packet for a moment of the conversion's time.
func (s *sound) send(pt uint8, at time.Duration, marker bool, payload []byte) {
	s.f.forward(pt, s.stream.next(pt, s.stream.stamp(at+s.back, s.plan.out.ClockRate), marker, payload), s.at, nil)
}

func (s *sound) report(it item) {
	if s.conv == nil || s.resume {
		return
	}
	at := s.clock.peek(it.ts, s.hz) - s.skew + s.back
	s.f.to.ForwardReport(media.Audio, s.stream.packet.SSRC, it.ntp, s.stream.stamp(at, s.plan.out.ClockRate))
}
