package calls

import "lineout/calls/leg"

// next is the call's state machine, a pure function: what a leg's event makes
// of a status. ok is false when the event changes nothing in this state.
//
//	PENDING → TRYING → RING | SESSION_PROGRESS → ESTABLISHED ⇄ HOLD → FINISH
//	any state before the end → FAILED | BUSY | FINISH
func next(s Status, e leg.Event) (to Status, ok bool) {
	if s.Final() {
		return s, false
	}
	talking := s == Established || s == Hold
	switch e.Type {
	case leg.Trying:
		return Trying, s == New || s == Pending
	case leg.Ringing:
		return Ring, !talking && s != Ring
	case leg.EarlyMedia:
		return SessionProgress, !talking && s != SessionProgress
	case leg.Answered:
		return Established, !talking
	case leg.Held:
		return Hold, s == Established
	case leg.Resumed:
		return Established, s == Hold
	case leg.Ended:
		return final(e.Cause, talking), true
	}
	return s, false
}

// final says how a call that ended for this cause is called.
func final(c leg.Cause, talking bool) Status {
	switch c.Kind {
	case leg.Normal:
		return Finish
	case leg.Busy:
		return Busy
	case leg.Rejected:
		if talking { // a refused refresh ends a call that did take place
			return Finish
		}
	}
	return Failed
}
