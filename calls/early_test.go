package calls

import (
	"testing"
	"testing/synctest"

	"lineout/calls/leg"
)

// TestEarlyMedia: what comes before the answer goes into the stream when it is
// asked for, and the answer goes on with it.
func TestEarlyMedia(t *testing.T) {
	for _, on := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, func(d *Deps) { d.EarlyMedia = on })
			defer r.stop()
			r.m.Startup(t.Context(), request("c"))
			events := r.phones.leg("c").events
			md := audioOnly()
			events <- leg.Event{Type: leg.EarlyMedia, Code: 183}
			synctest.Wait()
			events <- leg.Event{Type: leg.EarlyMedia, Code: 183, Media: md}
			synctest.Wait()
			s := r.hub.Get("s-c")
			if n := len(s.Tracks()); (n == 1) != on {
				t.Errorf("sip_early_media %v: %d tracks before the answer", on, n)
			}
			if got := r.m.Find(Filter{CallID: "c"}); got[0].Status != SessionProgress {
				t.Errorf("status %s", got[0].Status)
			}
			events <- leg.Event{Type: leg.Answered, Code: 200, Media: md}
			synctest.Wait()
			if n := len(s.Tracks()); n != 1 {
				t.Errorf("sip_early_media %v: %d tracks after the answer", on, n)
			}
		})
	}
}
