package rtpin

import "time"

const (
	// jumpLimit is where slewing would take too long to be of use.
	jumpLimit    = 500 * time.Millisecond
	jumpPatience = 300 * time.Millisecond
	// senderBound is how far sender reports may contradict arrival and still be believed.
	senderBound = time.Second
	// quietAfter freezes the estimate: the relation of two flows cannot be
	// seen while one of them is silent.
	quietAfter = time.Second
	// A large error is corrected within three seconds, but by no more than
	// slewMost per second: a picture every 34 instead of every 40 ms is not seen.
	slewMost = 150 * time.Millisecond
	// deviceDelay is what sound waits in the buffers of a live sender besides
	// the filling of the packet.
	deviceDelay = 16 * time.Millisecond
)

// SyncMode says what decides the offset between audio and video.
type SyncMode string

// The sync modes.
const (
	SyncNone    SyncMode = "none"    // one track only, so far
	SyncArrival SyncMode = "arrival" // arrival times
	SyncSender  SyncMode = "sender"  // sender reports of both tracks
)

// trackClock is what avSync knows of one track.
type trackClock struct {
	src *source
	snd *senderClock
	out bool // a frame was handed on: its mapping is seen by sinks
	set bool // offset is decided
	// offset = timeline - media time.
	offset time.Duration
	// packet is the length of an audio packet, 0 for video.
	packet time.Duration
}

// lead is how much earlier than it was sent media is taken to be captured.
//
// A timestamp tells of a packet's first sample. A live sender captures the last
// one before it can send, and its device holds sound back some more; a player of
// files sends a packet when its first sample is due. Nothing in arrival tells
// these apart, so it is taken for the middle. Reports carried on from send times are
// those of a telephone, whose pictures have some way to go, too.
func (c *trackClock) lead() time.Duration {
	switch {
	case c.packet == 0:
		return 0
	case c.snd.how == lessLate:
		return c.packet + deviceDelay/2
	}
	return (c.packet + deviceDelay) / 2
}

// captured is the arrival estimate of the moment that media time 0 was captured.
func (c *trackClock) captured() time.Duration { return c.src.clock.offset - c.lead() }

// reported is the sender's time of that moment, as its reports tell at local.
func (c *trackClock) reported(local time.Duration) time.Duration {
	if c.snd.how == lessLate {
		return c.snd.offset(local) - c.lead() // they tell when it was sent
	}
	return c.snd.offset(local)
}

func (c *trackClock) heard() bool { return c.src.segments > 0 }

func (c *trackClock) quiet(local time.Duration) bool {
	return local-c.src.clock.last > quietAfter
}

// avSync puts both tracks on one timeline. Audio's offset is constant once a
// frame of it is out; video's follows an estimate:
//
// By arrival, what left the sender at the same time is played at the same time:
// the difference of the tracks' least (arrival - media time), sound being older
// by some of a packet's length.
//
// By sender reports, what was captured at the same time is. They tell more, if
// they are true, which shows in how little they scatter. Where arrival lies
// within what they leave open (senderClock.band), arrival decides, so reports
// that are off by up to a frame (baresip) do not move a stream that is right;
// beyond twice that, reports do. The correction found is kept when reports cease.
//
// Reports that contradict arrival by more than senderBound are not used (NTP of
// 1970 in one track), nor are those of a wall clock that was set for one track
// and not for the other.
type avSync struct {
	audio, video trackClock
	slew         int // ms per second

	bias    time.Duration // what sender reports add to the estimate by arrival
	apart   time.Duration // how far reports contradict arrival, used or not
	mode    SyncMode
	err     time.Duration // estimate - video's offset, at the last update
	slewing bool          // video is moved as pictures are handed on
	jumpAt  time.Duration // since when the error is beyond jumpLimit, 0 if it is not
	jumped  bool          // video's offset jumped: its next frame carries Gap
	jumps   uint64

	origin  time.Duration // local time of timeline zero while no track was heard
	started bool          // something was handed on: the timeline's zero is fixed
}

// begin places a track on the timeline at its first packet.
func (s *avSync) begin(c, other *trackClock, local time.Duration) {
	if c.set || !c.heard() {
		return
	}
	c.set = true
	switch {
	case other.set:
		c.offset = other.offset - other.captured() + c.captured()
	case s.started:
		c.offset = local - s.origin - c.src.now(local)
	default:
		c.offset = -c.src.now(local)
	}
}

// now is the timeline's time of media that arrives at local without delay.
func (s *avSync) now(local time.Duration) (time.Duration, bool) {
	switch {
	case s.audio.set:
		return s.audio.src.now(local) + s.audio.offset, true
	case s.video.set:
		return s.video.src.now(local) + s.video.offset, true
	case s.started:
		return local - s.origin, true
	}
	return 0, false
}

// startAt fixes the zero of the timeline, when the first frame is handed on at t.
func (s *avSync) startAt(t time.Duration) {
	if s.started {
		return
	}
	s.started = true
	s.audio.offset -= t
	s.video.offset -= t
}

// estimate returns what video.offset - audio.offset should be.
func (s *avSync) estimate(local time.Duration) time.Duration {
	a, v := &s.audio, &s.video
	arrival := v.captured() - a.captured()
	s.mode = SyncArrival
	set := a.snd.shift - v.snd.shift
	if a.snd.ready(local) && v.snd.ready(local) && max(set, -set) < senderOutlier {
		s.apart = v.reported(local) - a.reported(local) - arrival
		if s.apart > senderBound || s.apart < -senderBound {
			s.bias = 0
		} else {
			s.bias = beyond(s.apart, max(a.snd.band(), v.snd.band()))
			s.mode = SyncSender
		}
	} else if a.snd.broken || v.snd.broken {
		s.bias = 0
	}
	return arrival + s.bias
}

// beyond is 0 for d within band, d itself beyond twice band, and goes from one to
// the other between.
func beyond(d, band time.Duration) time.Duration {
	if d < 0 {
		return -beyond(-d, band)
	}
	return min(max(2*(d-band), 0), d)
}

// update compares the offsets with the estimate. Called with every packet and poll.
func (s *avSync) update(local time.Duration) {
	a, v := &s.audio, &s.video
	s.begin(a, v, local)
	s.begin(v, a, local)
	s.slewing = false
	if !a.set || !v.set {
		s.mode = SyncNone
		return
	}
	if a.quiet(local) || v.quiet(local) {
		s.jumpAt = 0
		return
	}
	want := s.estimate(local)
	s.err = a.offset + want - v.offset
	switch {
	case !v.out:
		v.offset += s.err
		s.err = 0
	case !a.out:
		// Video is seen already, audio not: audio may still choose its place.
		a.offset -= s.err
		s.err = 0
	default:
		s.slewing = true
		s.jump(local)
	}
}

// jump moves video at once when slewing would take too long.
func (s *avSync) jump(local time.Duration) {
	switch {
	case s.err.Abs() <= jumpLimit:
		s.jumpAt = 0
	case s.jumpAt == 0:
		s.jumpAt = max(local, 1)
	case local-s.jumpAt >= jumpPatience:
		s.video.offset += s.err
		s.err, s.jumpAt, s.jumped = 0, 0, true
		s.jumps++
	}
}

// step is by how much a picture is moved that was captured dt after the one
// before. It goes by media time, so that after a stall no picture takes all of it.
func (s *avSync) step(dt time.Duration) time.Duration {
	if !s.slewing {
		return 0
	}
	size := s.err.Abs()
	rate := max(time.Duration(s.slew)*time.Millisecond, min(2*size, slewMost))
	step := min(size, time.Duration(float64(rate)*min(max(dt, 0), time.Second).Seconds()))
	if s.err < 0 {
		return -step
	}
	return step
}

// move moves video by a step.
func (s *avSync) move(step time.Duration) {
	s.video.offset += step
	s.err -= step
}
