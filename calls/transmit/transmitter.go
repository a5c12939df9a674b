// Package transmit makes one outgoing RTP stream of all that a leg sends,
// whatever carries the packets.
package transmit

import (
	"time"

	"github.com/pion/rtp"

	"lineout/calls/forward"
	"lineout/calls/leg"
)

const (
	// PacketTime is the length of comfort silence and between the packets of a digit.
	PacketTime = 20 * time.Millisecond
	// bridgePause is how long after the last packet of WriteRTP comfort
	// silence takes over again.
	bridgePause = 200 * time.Millisecond
	// forwardPause is the same after a forwarded packet: a source that is silent
	// may send no more than 2 packets a second (Opus with DTX).
	forwardPause = time.Second
	// ToneTime is how long a digit sounds. It is followed by tonePause; RFC 4733 asks
	// for no more than "long enough", phones for 50 to 100 ms of each.
	ToneTime  = 160 * time.Millisecond
	tonePause = 100 * time.Millisecond
	// endPackets of each event, sent three times against loss (RFC 4733 section 2.5.1.4).
	endPackets = 3
	// MaxDigits bounds the digits that wait.
	MaxDigits = 64
)

// Transmitter makes one outgoing RTP stream from four sources: comfort silence,
// telephone-events, media of our own and packets of another leg. Digits go
// before all, silence after all. SSRC, sequence numbers and timestamps run
// through.
// Passive: time is an argument, the owner holds its lock.
type Transmitter struct {
	// SSRC, Seq (of the next packet) and Base (the first timestamp) are to be set
	// before anything is sent, at random.
	SSRC uint32
	Seq  uint16
	Base uint32

	// Packets and Octets are what was sent, LastSent when.
	Packets, Octets uint64
	LastSent        time.Time

	epoch   time.Time
	clock   int // of the timestamps now
	own     int // that of pt
	pt      uint8
	silence []byte // nil: no comfort media
	sending bool

	comfortAt time.Time // next comfort packet; zero = not running
	talking   bool      // the last packet was media: no marker needed

	// until is the end of the sound sent so far and nextTS its timestamp: what
	// follows begins there or later.
	until  time.Time
	nextTS uint32

	bridge struct {
		live bool
		last time.Time     // when the newest packet was sent
		late time.Duration // by how much its sound is moved, see Write
	}

	row   forward.Mapper // packets of another leg
	rowAt time.Time      // when the newest of them was sent

	digits  []byte // event codes waiting
	event   eventState
	eventPT uint8
	eventHz int
	eventOK bool
}

type eventState struct {
	active bool
	code   byte
	ts     uint32
	at     time.Time // what ts stands for
	step   int       // packets sent so far
	nextAt time.Time
}

// Configure takes over what was agreed. The timestamps go on from where they are.
func (t *Transmitter) Configure(pt uint8, clock int, silence []byte, sending bool, now time.Time) {
	t.leave()
	if t.clock != clock || t.epoch.IsZero() {
		from := t.free(now)
		if !t.epoch.IsZero() {
			t.Base = t.at(from)
		}
		t.epoch, t.clock = from, clock
		t.until, t.nextTS = from, t.Base
	}
	t.pt, t.own, t.silence, t.sending = pt, clock, silence, sending
	t.bridge.live = false
	if !sending {
		t.comfortAt, t.talking = time.Time{}, false
	} else if t.comfortAt.IsZero() {
		t.comfortAt = t.free(now)
	}
}

// Events says under which payload type and clock the peer takes telephone-events,
// if it does.
func (t *Transmitter) Events(pt uint8, hz int, ok bool) { t.eventPT, t.eventHz, t.eventOK = pt, hz, ok }

// TakesEvents says whether digits can be sent.
func (t *Transmitter) TakesEvents() bool { return t.eventOK }

// Sending says whether anything may be sent.
func (t *Transmitter) Sending() bool { return t.sending }

// Stop lets nothing be sent until Configure.
func (t *Transmitter) Stop() { t.sending = false }

// Report takes a sender report of a source whose packets are forwarded.
func (t *Transmitter) Report(ssrc, timestamp uint32, at time.Time) { t.row.Report(ssrc, timestamp, at) }

// at is the RTP timestamp of a moment.
func (t *Transmitter) at(now time.Time) uint32 {
	d := now.Sub(t.epoch)
	whole, part := int64(d/time.Second), int64(d%time.Second) // apart: the product of both overflows after a day
	return t.Base + uint32(whole*int64(t.clock)+part*int64(t.clock)/int64(time.Second))
}

// Due is when next has something to send; zero for never.
func (t *Transmitter) Due() time.Time {
	switch {
	case !t.sending:
		return time.Time{}
	case t.event.active || len(t.digits) > 0:
		return t.event.nextAt
	case t.silence == nil:
		return time.Time{}
	case t.bridge.live:
		return t.bridge.last.Add(bridgePause)
	case t.row.Live():
		return t.rowAt.Add(forwardPause)
	}
	return t.comfortAt
}

// Next returns the packet to send now. Its payload is written to buf or is
// shared and read-only.
func (t *Transmitter) Next(now time.Time, buf []byte) (h rtp.Header, payload []byte, ok bool) {
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
		t.comfortAt = t.free(now)
	}
	if t.row.Live() {
		if t.silence == nil || now.Sub(t.rowAt) < forwardPause {
			return h, nil, false
		}
		t.leave()
		t.talking = false
		t.comfortAt = t.free(now)
	}
	if t.silence == nil || now.Before(t.comfortAt) {
		return h, nil, false
	}
	if now.Sub(t.comfortAt) > 10*PacketTime { // the machine slept: no burst of the past
		t.comfortAt, t.talking = now, false
	}
	h = t.header(t.pt, t.stamp(t.comfortAt, PacketTime), !t.talking)
	t.comfortAt = t.comfortAt.Add(PacketTime)
	t.talking = true
	t.count(len(t.silence), now)
	return h, t.silence, true
}

// free is the first moment from now on that no sound was sent for.
func (t *Transmitter) free(now time.Time) time.Time {
	if t.until.After(now) {
		return t.until
	}
	return now
}

// holeMin is the least time that is a hole between two pieces of sound; less is
// rounding.
const holeMin = time.Millisecond

// stamp is the timestamp of sound that begins at a moment. It never goes back,
// and leaves out not one sample where sound goes on. The relation of timestamps
// to the clock, which sender reports state, is not touched by any of it.
func (t *Transmitter) stamp(at time.Time, length time.Duration) uint32 {
	if t.Packets == 0 || at.Sub(t.until) > holeMin {
		t.until, t.nextTS = at, t.at(at)
	}
	ts := t.nextTS
	t.until = t.until.Add(length)
	t.nextTS += uint32((int64(length)*int64(t.clock) + int64(time.Second)/2) / int64(time.Second))
	return ts
}

func (t *Transmitter) header(pt uint8, ts uint32, marker bool) rtp.Header {
	h := rtp.Header{Version: 2, PayloadType: pt, SequenceNumber: t.Seq, Timestamp: ts, SSRC: t.SSRC, Marker: marker}
	t.Seq++
	return h
}

func (t *Transmitter) count(n int, now time.Time) {
	t.Packets++
	t.Octets += uint64(n)
	t.LastSent = now
}

// Dial queues event codes; false when the queue would grow beyond its bound.
func (t *Transmitter) Dial(codes []byte, now time.Time) bool {
	if len(t.digits)+len(codes) > MaxDigits {
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
func (t *Transmitter) nextEvent(now time.Time, buf []byte) (h rtp.Header, payload []byte, ok bool) {
	if now.Before(t.event.nextAt) || len(buf) < 4 {
		return h, nil, false
	}
	e := &t.event
	if !e.active {
		e.active, e.code, e.step = true, t.digits[0], 0
		t.digits = t.digits[1:]
		t.leave()
		e.at = t.free(now)
		e.ts = t.stamp(e.at, 0)
		e.nextAt = now
	}
	const growing = int(ToneTime / PacketTime)
	unit := int(PacketTime * time.Duration(t.eventHz) / time.Second)
	duration := min((e.step+1)*unit, growing*unit)
	end := e.step >= growing-1
	buf[0], buf[1] = e.code, 10 // volume -10 dBm0
	if end {
		buf[1] |= 0x80
	}
	buf[2], buf[3] = byte(duration>>8), byte(duration)
	h = t.header(t.eventPT, e.ts, e.step == 0)
	t.count(4, now)
	e.step++
	e.nextAt = e.nextAt.Add(PacketTime)
	if e.step == growing-1+endPackets {
		e.active = false
		e.nextAt = now.Add(tonePause)
		if t.until = e.at.Add(ToneTime); t.until.Before(now) {
			t.until = now
		}
		t.nextTS = t.at(t.until)
		t.comfortAt, t.talking, t.bridge.live = t.until, false, false
	}
	return h, buf[:4], true
}

// barred says that nothing but a digit may be sent, or nothing at all.
func (t *Transmitter) barred(now time.Time) bool {
	return !t.sending || t.event.active || len(t.digits) > 0 && !now.Before(t.event.nextAt)
}

// Write makes the header of a packet from elsewhere. ok is false while a
// digit sounds or nothing may be sent.
func (t *Transmitter) Write(p *leg.Outgoing, now time.Time) (h rtp.Header, ok bool) {
	if t.barred(now) {
		return h, false
	}
	t.leave()
	b, sound := &t.bridge, p.Length > 0
	begins := sound && !b.live
	if begins { // sound that belongs to a time already spent on silence comes later, all of it by as much
		b.late = max(t.until.Sub(p.At), 0)
	}
	var ts uint32
	if sound {
		ts = t.stamp(p.At.Add(b.late), p.Length)
	} else {
		ts = t.at(p.At)
	}
	b.live, b.last = true, now
	h = t.header(p.PayloadType, ts, p.Marker || begins) // a talkspurt begins (RFC 3551 section 4.1)
	t.count(len(p.Payload), now)
	return h, true
}

// Codes maps digits to the codes of RFC 4733 table 3.
func Codes(digits string) ([]byte, bool) {
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

// Digit is the digit of an event code, 0 for codes that are none.
func Digit(code byte) byte {
	const digits = "0123456789*#ABCD"
	if int(code) < len(digits) {
		return digits[code]
	}
	return 0
}
