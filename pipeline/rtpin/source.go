package rtpin

import (
	"time"

	"github.com/pion/rtp"
)

// RFC 3550 appendix A.1. A jump further than this is taken for another source
// or a restart, and believed only when a second packet follows in sequence.
const (
	maxDropout  = 3000
	maxMisorder = 100
	// stragglers is for how long packets from before a restart may still come.
	stragglers = time.Second
)

// Where media time and arrival may part before media time is not believed.
const (
	// A packet cannot overtake the fastest ones by this much: its timestamp jumped.
	earlyLimit = 500 * time.Millisecond
	// A packet that was not overtaken cannot be so much older than the one
	// before it; pictures that are sent out of order (B-frames) are by less.
	backLimit = 500 * time.Millisecond
	// Nor is a packet kept in the network for so long.
	farLateLimit = 10 * time.Second
	// Late by lateLimit may be a stalled network or sender, which then catches
	// up, at once or as fast as it can encode: it becomes less late by lateGain
	// in every latePatience at least. Late without getting nearer for
	// latePatience is a sender whose timestamps stood still (phones do while on
	// hold).
	lateLimit    = time.Second
	latePatience = time.Second
	lateGain     = 50 * time.Millisecond
	latePackets  = 10
)

// segment is a stretch of timestamps without a jump.
type segment struct {
	ts   tsUnwrapper
	base time.Duration // media time = rtpTime(ts) + base
}

// arrived is a packet with its place in order and time.
type arrived struct {
	p     *rtp.Packet
	seq   int64         // extended, continuous over restarts
	at    time.Duration // local time
	media time.Duration // media time
	// epoch counts restarts of the sender or its numbering: where it changes,
	// what came before may be incomplete.
	epoch uint64
	// jump: media time was set anew by arrival.
	jump bool
}

// source follows the one SSRC a track is fed from, and restarts of it.
type source struct {
	rate    int
	started bool
	ssrc    uint32
	seq     seqUnwrapper

	clock    arrivalClock
	seg      segment
	prev     segment // the one before seg, for packets that were overtaken
	segStart int64   // first sequence number of seg
	segments int
	topSeq   int64 // newest in order, and its media time
	topMedia time.Duration
	fresh    bool // the next packet opens a segment, whatever its timestamp

	lateSince time.Duration
	lateCount int
	lateFrom  time.Duration // how late at lateSince
	lateLeast time.Duration // since then

	// A packet that would be a jump waits here for its successor.
	cand     arrived
	candSSRC uint32
	candNext uint16
	hasCand  bool

	// What was left at the last restart; stragglers of it are no restart again.
	leftSSRC uint32
	leftSeq  uint16
	leftAt   time.Duration

	out [2]arrived

	restarts, ssrcChanges, tsJumps, refused uint64
}

// accept takes the next packet in order of arrival and returns those that may
// go on: none, one, or two when a restart is confirmed. known says that its
// payload type was negotiated for media, timed that its timestamps also count
// in the track's clock rate. The result is valid until the next call.
func (s *source) accept(p *rtp.Packet, local time.Duration, known, timed bool) []arrived {
	if !s.started {
		if !known {
			s.refused++
			return nil
		}
		s.started, s.ssrc = true, p.SSRC
		s.seq = seqUnwrapper{wire: p.SequenceNumber}
		s.out[0] = s.timed(p, s.seq.ext, local, timed)
		return s.out[:1]
	}
	if p.SSRC == s.ssrc {
		d := s.seq.distance(p.SequenceNumber)
		if d > -maxMisorder && d < maxDropout {
			s.dropCandidate()
			s.out[0] = s.timed(p, s.seq.at(p.SequenceNumber), local, timed)
			return s.out[:1]
		}
	} else if !known {
		// Retransmission and correction streams have payload types of their
		// own, and must not look like a new sender.
		s.refused++
		return nil
	}
	return s.candidate(p, local, timed)
}

// candidate holds a packet that does not fit, or ends the probation of the one
// held before.
func (s *source) candidate(p *rtp.Packet, local time.Duration, timed bool) []arrived {
	if back := int16(s.leftSeq - p.SequenceNumber); s.restarts > 0 && p.SSRC == s.leftSSRC &&
		back > -maxMisorder && back < maxMisorder && local-s.leftAt < stragglers {
		s.refused++
		return nil
	}
	if !s.hasCand || s.candSSRC != p.SSRC || s.candNext != p.SequenceNumber {
		s.dropCandidate()
		s.cand = arrived{p: p, at: local}
		s.hasCand, s.candSSRC, s.candNext = true, p.SSRC, p.SequenceNumber+1
		return nil
	}
	first := s.cand
	s.cand, s.hasCand = arrived{}, false
	s.restarts++
	s.leftSSRC, s.leftSeq, s.leftAt = s.ssrc, s.seq.wire, local
	if p.SSRC != s.ssrc {
		s.ssrcChanges++
		s.ssrc, s.fresh = p.SSRC, s.segments > 0
	}
	s.seq.restart(first.p.SequenceNumber)
	s.out[0] = s.timed(first.p, s.seq.ext, first.at, timed)
	s.out[1] = s.timed(p, s.seq.at(p.SequenceNumber), local, timed)
	return s.out[:2]
}

func (s *source) dropCandidate() {
	if s.hasCand {
		s.refused++
		s.cand, s.hasCand = arrived{}, false
	}
}

// timed gives a packet its media time. A packet that is not timed is taken to
// have come without delay.
func (s *source) timed(p *rtp.Packet, seq int64, local time.Duration, timed bool) arrived {
	a := arrived{p: p, seq: seq, at: local, epoch: s.restarts}
	switch {
	case !timed:
		a.media = s.now(local)
	case s.segments == 0:
		s.seg = segment{ts: tsUnwrapper{wire: p.Timestamp}}
		s.segments = 1
		s.clock.add(local, local)
		s.topSeq = seq
	case s.segments > 1 && seq < s.segStart && !s.fresh:
		a.media = s.overtaken(p.Timestamp, local)
	default:
		a.media, a.jump = s.follow(p.Timestamp, seq, local)
	}
	return a
}

// follow is timed for a packet of the newest segment.
func (s *source) follow(ts uint32, seq int64, local time.Duration) (m time.Duration, jump bool) {
	m = rtpTime(s.seg.ts.peek(ts), s.rate) + s.seg.base
	excess := local - m - s.clock.offset
	switch {
	case s.fresh, excess < -earlyLimit || excess > farLateLimit, seq > s.topSeq && m < s.topMedia-backLimit:
		// A fresh start was told to the owner before.
		if jump = !s.fresh; jump {
			s.tsJumps++
		}
		s.newSegment(ts, seq, local)
		m = s.now(local)
	case excess > lateLimit:
		if jump = s.stuck(excess, local); jump {
			s.tsJumps++
			s.prev, s.segStart = s.seg, seq
			s.segments++
			s.seg.base += s.lateLeast
			m += s.lateLeast
			s.lateCount = 0
		}
	default:
		s.lateCount = 0
	}
	s.seg.ts.at(ts)
	s.clock.add(local, local-m)
	if seq > s.topSeq {
		s.topSeq, s.topMedia = seq, m
	}
	return m, jump
}

// overtaken is the media time of a packet from before the start of the newest
// segment; it may belong to that segment all the same.
func (s *source) overtaken(ts uint32, local time.Duration) time.Duration {
	now := s.now(local)
	for _, g := range [...]*segment{&s.prev, &s.seg} {
		if m := rtpTime(g.ts.peek(ts), s.rate) + g.base; m-now < earlyLimit && now-m < lateLimit {
			return m
		}
	}
	return now
}

// stuck says whether lateness has lasted so long that it is no stall.
func (s *source) stuck(excess, local time.Duration) bool {
	if s.lateCount == 0 {
		s.lateSince, s.lateFrom, s.lateLeast = local, excess, excess
	}
	s.lateCount++
	s.lateLeast = min(s.lateLeast, excess)
	if s.lateCount < latePackets || local-s.lateSince < latePatience {
		return false
	}
	if s.lateLeast <= s.lateFrom-lateGain { // it is catching up
		s.lateSince, s.lateFrom, s.lateCount = local, s.lateLeast, 1
		return false
	}
	return true
}

// newSegment starts timestamps anew: ts, which arrived at local, continues
// media time as if it had met no delay beyond the track's usual.
func (s *source) newSegment(ts uint32, seq int64, local time.Duration) {
	s.prev, s.segStart = s.seg, seq
	s.segments++
	s.seg = segment{ts: tsUnwrapper{wire: ts}, base: s.now(local)}
	s.lateCount, s.fresh = 0, false
}

// setRate changes the clock rate; timestamps start anew with the next packet.
// It reports whether they were counting already.
func (s *source) setRate(rate int) bool {
	changed := s.segments > 0 && s.rate != rate
	s.rate, s.fresh = rate, s.fresh || changed
	return changed
}

// now is the media time of a packet that arrives at local without extra delay.
func (s *source) now(local time.Duration) time.Duration { return local - s.clock.offset }

// mediaTime maps a timestamp of the newest segment (of a sender report, of comfort noise).
func (s *source) mediaTime(ts uint32) time.Duration {
	return rtpTime(s.seg.ts.peek(ts), s.rate) + s.seg.base
}
