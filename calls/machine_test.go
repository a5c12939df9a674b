package calls

import (
	"testing"

	"lineout/calls/leg"
)

// Every cell of status × event.
func TestMachineEveryCell(t *testing.T) {
	all := []Status{New, Pending, Trying, Ring, RingMedia, SessionProgress, Established, Hold, Busy, Finish, Failed}
	early := map[Status]bool{New: true, Pending: true, Trying: true, Ring: true, RingMedia: true, SessionProgress: true}
	for _, s := range all {
		for e := leg.Trying; e <= leg.Ended; e++ {
			want, wantOK := s, false
			switch e {
			case leg.Trying:
				if s == New || s == Pending {
					want, wantOK = Trying, true
				}
			case leg.Ringing:
				if early[s] && s != Ring {
					want, wantOK = Ring, true
				}
			case leg.EarlyMedia:
				if early[s] && s != SessionProgress {
					want, wantOK = SessionProgress, true
				}
			case leg.Answered:
				if early[s] {
					want, wantOK = Established, true
				}
			case leg.Held:
				if s == Established {
					want, wantOK = Hold, true
				}
			case leg.Resumed:
				if s == Hold {
					want, wantOK = Established, true
				}
			case leg.Ended:
				if !s.Final() {
					want, wantOK = Finish, true
				}
			}
			to, ok := next(s, leg.Event{Type: e})
			if ok != wantOK || ok && to != want {
				t.Errorf("%s + event %d = %s %v, want %s %v", s, e, to, ok, want, wantOK)
			}
		}
	}
}

func TestHowACallEnds(t *testing.T) {
	for _, c := range []struct {
		kind    leg.CauseKind
		talking bool
		want    Status
	}{
		{leg.Normal, true, Finish}, {leg.Normal, false, Finish},
		{leg.Busy, false, Busy},
		{leg.Rejected, false, Failed}, {leg.Rejected, true, Finish},
		{leg.RequestTimeout, false, Failed}, {leg.NoCommonCodecs, true, Failed},
		{leg.RTPActivity, true, Failed}, {leg.Setup, false, Failed}, {leg.Internal, true, Failed},
	} {
		if got := final(leg.Cause{Kind: c.kind}, c.talking); got != c.want {
			t.Errorf("kind %d talking %v: %s, want %s", c.kind, c.talking, got, c.want)
		}
	}
}
