package leg

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A reader that sleeps loses digits, never the end.
func TestQueue(t *testing.T) {
	q := NewQueue()
	for range 10 * queueSize {
		q.Put(Event{Type: DTMFReceived, Digit: "1"})
	}
	if len(q.events) != queueSize/2 {
		t.Errorf("%d digits queued", len(q.events))
	}
	for range queueSize {
		q.Put(Event{Type: Ringing})
	}
	q.Put(Event{Type: Ended})
	q.Put(Event{Type: Ringing})
	var last Event
	for last = range q.Events() {
	}
	if last.Type != Ended {
		t.Errorf("last event %+v", last)
	}
}

func TestStatusOfAHangup(t *testing.T) {
	for _, c := range []struct {
		cause Cause
		code  int
		text  string
		kind  CauseKind
	}{
		{Cause{}, 603, "Decline", Rejected},
		{Cause{Code: 486}, 486, "Busy Here", Busy},
		{Cause{Code: 418}, 418, "Refused", Rejected},
		{Cause{Code: 200, Kind: RTPActivity}, 500, "Server Internal Error", Rejected},
		{Cause{Kind: NoCommonCodecs}, 488, "Not Acceptable Here", NoCommonCodecs},
		{Cause{Code: 408, Kind: RequestTimeout}, 408, "Request Timeout", RequestTimeout},
	} {
		code, text := c.cause.Status()
		if code != c.code || text != c.text || KindOf(code) != c.kind {
			t.Errorf("%+v: %d %s, kind %d", c.cause, code, text, KindOf(code))
		}
	}
}
