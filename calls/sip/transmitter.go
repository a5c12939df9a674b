package sip

import (
	"time"

	"github.com/pion/rtp"
)

const (
	packetTime = 20 * time.Millisecond
	// bridgePause is how long after the last packet of WriteRTP comfort
	// silence takes over again.
	bridgePause = 200 * time.Millisecond
	// A digit sounds for toneTime and is followed by tonePause; RFC 4733 asks
	// for no more than "long enough", phones for 50 to 100 ms of each.
	toneTime  = 160 * time.Millisecond
	tonePause = 100 * time.Millisecond
	// endPackets of each event, sent three times against loss (RFC 4733 section 2.5.1.4).
	endPackets = 3
	maxDigits  = 64
)

// transmitter makes one outgoing RTP stream from three sources: comfort
// silence, telephone-events and packets of a bridge, in that order of birth and
// reversed order of right. SSRC, sequence numbers and timestamps run through.
// Passive: time is an argument, the owner holds its lock.
type transmitter struct {
	ssrc    uint32
	seq     uint16 // of the next packet
	base    uint32 // timestamp at epoch
	epoch   time.Time
	clock   int
	pt      uint8
	silence []byte // nil: no comfort media
	sending bool

	comfortAt time.Time // next comfort packet; zero = not running
	talking   bool      // the last packet was media: no marker needed

	bridge struct {
		live   bool
		last   time.Time
		ssrc   uint32
		seqOff uint16
		tsOff  uint32
	}

	digits  []byte // event codes waiting
	event   eventState
	eventPT uint8
	eventHz int
	eventOK bool

	packets, octets uint64
	lastTS          uint32
	lastSent        time.Time
}

type eventState struct {
	active bool
	code   byte
	ts     uint32
	step   int // packets sent so far
	nextAt time.Time
}

// configure takes over what was agreed. The timestamps go on from where they are.
func (t *transmitter) configure(pt uint8, clock int, silence []byte, sending bool, now time.Time) {
	if t.clock != clock || t.epoch.IsZero() {
		if !t.epoch.IsZero() {
			t.base = t.at(now)
		}
		t.epoch, t.clock = now, clock
	}
	t.pt, t.silence, t.sending = pt, silence, sending
	t.bridge.live = false
	if !sending {
		t.comfortAt, t.talking = time.Time{}, false
	} else if t.comfortAt.IsZero() {
		t.comfortAt = now
	}
}

// at is the RTP timestamp of a moment.
func (t *transmitter) at(now time.Time) uint32 {
	d := now.Sub(t.epoch)
	whole, part := int64(d/time.Second), int64(d%time.Second) // apart: the product of both overflows after a day
	return t.base + uint32(whole*int64(t.clock)+part*int64(t.clock)/int64(time.Second))
}

// due is when next has something to send; zero for never.
func (t *transmitter) due() time.Time {
	switch {
	case !t.sending:
		return time.Time{}
	case t.event.active || len(t.digits) > 0:
		return t.event.nextAt
	case t.silence == nil:
		return time.Time{}
	case t.bridge.live:
		return t.bridge.last.Add(bridgePause)
	}
	return t.comfortAt
}

// next returns the packet to send now. Its payload is written to buf or is
// shared and read-only.
func (t *transmitter) next(now time.Time, buf []byte) (h rtp.Header, payload []byte, ok bool) {
	if !t.sending {
		return h, nil, false
	}
	if t.event.active || len(t.digits) > 0 {
		return t.nextEvent(now, buf)
	}
	if t.bridge.live {
		if now.Sub(t.bridge.last) < bridgePause {
			return h, nil, false
		}
		t.bridge.live, t.talking = false, false
		t.comfortAt = now
	}
	if t.silence == nil || now.Before(t.comfortAt) {
		return h, nil, false
	}
	if now.Sub(t.comfortAt) > 10*packetTime { // the machine slept: no burst of the past
		t.comfortAt, t.talking = now, false
	}
	h = t.header(t.pt, t.forward(t.at(t.comfortAt)), !t.talking)
	t.comfortAt = t.comfortAt.Add(packetTime)
	t.talking = true
	t.count(h.Timestamp, len(t.silence), now)
	return h, t.silence, true
}

// forward keeps timestamps from going back when sources change.
func (t *transmitter) forward(ts uint32) uint32 {
	if t.packets > 0 && int32(ts-t.lastTS) <= 0 {
		step := t.lastTS + uint32(packetTime*time.Duration(t.clock)/time.Second) - ts
		t.base += step
		ts += step
	}
	return ts
}

func (t *transmitter) header(pt uint8, ts uint32, marker bool) rtp.Header {
	h := rtp.Header{Version: 2, PayloadType: pt, SequenceNumber: t.seq, Timestamp: ts, SSRC: t.ssrc, Marker: marker}
	t.seq++
	return h
}

func (t *transmitter) count(ts uint32, n int, now time.Time) {
	t.packets++
	t.octets += uint64(n)
	t.lastTS, t.lastSent = ts, now
}

// dial queues event codes; false when the queue would grow beyond its bound.
func (t *transmitter) dial(codes []byte, now time.Time) bool {
	if len(t.digits)+len(codes) > maxDigits {
		return false
	}
	if !t.event.active && len(t.digits) == 0 && t.event.nextAt.Before(now) {
		t.event.nextAt = now
	}
	t.digits = append(t.digits, codes...)
	return true
}

// nextEvent makes the packets of one telephone-event: same timestamp, growing
// duration, marker on the first, three with the end bit (RFC 4733 section 2.5).
func (t *transmitter) nextEvent(now time.Time, buf []byte) (h rtp.Header, payload []byte, ok bool) {
	if now.Before(t.event.nextAt) || len(buf) < 4 {
		return h, nil, false
	}
	e := &t.event
	if !e.active {
		e.active, e.code, e.step = true, t.digits[0], 0
		t.digits = t.digits[1:]
		e.ts = t.forward(t.at(now))
		e.nextAt = now
	}
	const growing = int(toneTime / packetTime)
	unit := int(packetTime * time.Duration(t.eventHz) / time.Second)
	duration := min((e.step+1)*unit, growing*unit)
	end := e.step >= growing-1
	buf[0], buf[1] = e.code, 10 // volume -10 dBm0
	if end {
		buf[1] |= 0x80
	}
	buf[2], buf[3] = byte(duration>>8), byte(duration)
	h = t.header(t.eventPT, e.ts, e.step == 0)
	t.count(e.ts, 4, now)
	e.step++
	e.nextAt = e.nextAt.Add(packetTime)
	if e.step == growing-1+endPackets {
		e.active = false
		e.nextAt = now.Add(tonePause)
		t.comfortAt, t.talking, t.bridge.live = now, false, false
		t.lastTS = t.at(now)
	}
	return h, buf[:4], true
}

// bridged rewrites a packet of another stream to continue this one. ok is
// false while a digit sounds or nothing may be sent.
func (t *transmitter) bridged(in *rtp.Header, n int, now time.Time) (h rtp.Header, ok bool) {
	if !t.sending || t.event.active || len(t.digits) > 0 && !now.Before(t.event.nextAt) {
		return h, false
	}
	b := &t.bridge
	marker := in.Marker
	if !b.live || b.ssrc != in.SSRC {
		b.ssrc, b.live = in.SSRC, true
		b.seqOff = t.seq - in.SequenceNumber
		b.tsOff = t.forward(t.at(now)) - in.Timestamp
		marker = marker || t.silence != nil // a talkspurt begins (RFC 3551 section 4.1)
	}
	h = rtp.Header{Version: 2, PayloadType: in.PayloadType, SSRC: t.ssrc, Marker: marker,
		SequenceNumber: in.SequenceNumber + b.seqOff, Timestamp: in.Timestamp + b.tsOff}
	if int16(h.SequenceNumber-t.seq) >= 0 {
		t.seq = h.SequenceNumber + 1
	}
	b.last = now
	t.count(h.Timestamp, n, now)
	return h, true
}

// eventCodes maps digits to the codes of RFC 4733 table 3.
func eventCodes(digits string) ([]byte, bool) {
	out := make([]byte, 0, len(digits))
	for i := 0; i < len(digits); i++ {
		switch c := digits[i]; {
		case c >= '0' && c <= '9':
			out = append(out, c-'0')
		case c == '*':
			out = append(out, 10)
		case c == '#':
			out = append(out, 11)
		case c >= 'A' && c <= 'D':
			out = append(out, c-'A'+12)
		case c >= 'a' && c <= 'd':
			out = append(out, c-'a'+12)
		default:
			return nil, false
		}
	}
	return out, len(out) > 0
}

// eventDigit is the digit of an event code, 0 for codes that are none.
func eventDigit(code byte) byte {
	const digits = "0123456789*#ABCD"
	if int(code) < len(digits) {
		return digits[code]
	}
	return 0
}
