package calls

import "lineout/calls/leg"

// phase is how far one side of a user's call has come.
type phase uint8

const (
	idle phase = iota
	ringing
	early // rings, with media
	answered
	held // answered, and on hold by whomever
	gone
)

// talks says that the side has been answered.
func (p phase) talks() bool { return p == answered || p == held }

// advance is what an event makes of a side's phase; ok is false when that
// changes nothing.
func (p phase) advance(e leg.EventType) (to phase, ok bool) {
	if p == gone {
		return p, false
	}
	switch e {
	case leg.Ringing:
		return ringing, p == idle
	case leg.EarlyMedia:
		return early, p == idle || p == ringing
	case leg.Answered:
		return answered, !p.talks()
	case leg.Held:
		return held, p == answered
	case leg.Resumed:
		return answered, p == held
	case leg.Ended:
		return gone, true
	}
	return p, false
}

// conversation is the status of a user's call: called is the side that was
// called, caller the one that began. A call is ESTABLISHED once both have
// media, and on HOLD while either side is.
func conversation(s Status, caller, called phase) Status {
	switch {
	case s.Final():
		return s
	case caller == held && called.talks(), called == held && caller.talks():
		return Hold
	case caller.talks() && called.talks():
		return Established
	case called == ringing:
		return Ring
	case called == early:
		return SessionProgress
	case called == idle:
		return Trying
	}
	return s // answered, and the caller not yet told
}
