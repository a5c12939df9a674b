package bridge

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/rtcp"

	"lineout/calls/leg"
	"lineout/media"
)

// filmed sends pictures to the other leg, 25 a second; key frames answer the
// requests after a while.
func filmed(b *Bridge, x *party, from *uint16, answered *int, pictures int) {
	for range pictures {
		payload := []byte{0x10, 0x01, 2}
		if n := len(x.requests()); answered != nil && n > *answered {
			*answered, payload[1] = n, 0
		}
		*from++
		b.FromA(media1(media.Video, 114, 7, *from, uint32(*from)*3600, payload...))
		time.Sleep(40 * ms)
	}
}

func TestKeyframes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, x, y := join([]leg.TrackInfo{pictures(vp)}, []leg.TrackInfo{pictures(vp)})
		running(t, b)
		asked := func(what string, want int) {
			t.Helper()
			synctest.Wait()
			if n := len(x.requests()); n != want {
				t.Errorf("%s: %d requests, want %d", what, n, want)
			}
		}
		var seq uint16
		var done int
		filmed(b, x, &seq, &done, 50)
		asked("at the beginning", 1)
		if x.came == 0 {
			t.Error("the leg is not told that a key frame came")
		}
		for range 100 { // the receiver panics
			b.FromB(control(media.Video, &rtcp.PictureLossIndication{}, &rtcp.FullIntraRequest{}))
			filmed(b, x, &seq, &done, 1)
		}
		if n := len(x.requests()); n < 5 || n > 2+4000/300 {
			t.Errorf("%d requests in 4 s", n-1)
		}
		filmed(b, x, &seq, &done, 100)
		n := len(x.requests())
		for range 100 {
			b.FromB(control(media.Video, &rtcp.TransportLayerNack{}))
			filmed(b, x, &seq, &done, 1)
		}
		asked("for lost packets, in 4 s", n+2)
		filmed(b, x, &seq, &done, 100)
		n = len(x.requests())
		b.KeyframeWantedByB()
		asked("by SIP INFO", n+1)
		filmed(b, x, &seq, &done, 50)
		time.Sleep(2 * time.Second)
		filmed(b, x, &seq, &done, 50)
		asked("after a pause", n+2)
		held := pictures(vp)
		held.Send = false
		y.set(held)
		b.MediaChanged()
		b.FromB(control(media.Video, &rtcp.PictureLossIndication{}))
		filmed(b, x, &seq, &done, 50)
		asked("on hold", n+2)
		y.set(pictures(vp))
		b.MediaChanged()
		filmed(b, x, &seq, &done, 50)
		asked("resumed", n+3)
		if st := b.Stats().AToB[1]; st.KeyframeRequests != uint64(n+3) {
			t.Errorf("%+v", st)
		}
	})
}

// Requests that are not obeyed are repeated ever more slowly, and end; while
// nothing comes there is nothing to ask for.
func TestKeyframesThatDoNotCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, x, _ := join([]leg.TrackInfo{pictures(vp)}, []leg.TrackInfo{pictures(vp)})
		running(t, b)
		var seq uint16
		filmed(b, x, &seq, nil, 25*30)
		got := x.requests()
		if len(got) != askTries {
			t.Fatalf("%d requests", len(got))
		}
		for i, want := range []time.Duration{300 * ms, 600 * ms, time.Second, time.Second} {
			if d := got[i+1].Sub(got[i]); d != want {
				t.Errorf("request %d came %v after the one before", i+1, d)
			}
		}
		time.Sleep(2 * time.Second)
		filmed(b, x, &seq, nil, 1)
		time.Sleep(time.Minute)
		if n := len(x.requests()); n > askTries+3 {
			t.Errorf("%d requests to one who sends nothing", n-askTries)
		}
	})
}

func TestOrder(t *testing.T) {
	now := time.Unix(0, 0)
	o := newOrder(8)
	push := func(seq uint16, want accepted) {
		t.Helper()
		if got := o.push(item{p: media1(media.Audio, 0, 1, seq, 0).RTP}, now); got != want {
			t.Errorf("%d: %d, want %d", seq, got, want)
		}
	}
	pop := func(want uint16, lost int) {
		t.Helper()
		it, n, ok := o.pop(now, false)
		if !ok || it.p.SequenceNumber != want || n != lost {
			t.Errorf("%v %d %v, want %d after %d", it.p, n, ok, want, lost)
		}
	}
	none := func() {
		t.Helper()
		if it, _, ok := o.pop(now, false); ok {
			t.Errorf("%d has come too early", it.p.SequenceNumber)
		}
	}
	push(65535, taken)
	pop(65535, 0)
	none()
	push(1, taken)
	none()
	push(1, refused)
	push(0, taken)
	pop(0, 0)
	pop(1, 0)
	push(4, taken)
	none()
	if due := o.due(); !due.Equal(now.Add(waitFirst)) {
		t.Error(due)
	}
	now = now.Add(waitFirst)
	pop(4, 2)
	if o.wait >= waitFirst {
		t.Error("a loss does not shorten the wait", o.wait)
	}
	now = now.Add(7 * ms)
	push(3, refused) // it came 32 ms late
	if o.wait != waitMost {
		t.Error("a late packet does not lengthen the wait", o.wait)
	}
	push(40, refused) // somewhere else
	push(41, leapt)
	o.reset()
	push(41, taken)
	pop(41, 0)
}

func TestHistogram(t *testing.T) {
	var h histogram
	if h.quantile(0.5) != 0 {
		t.Error("without any")
	}
	for d := time.Microsecond; d < time.Hour; d = d*17/16 + 1 {
		i := bucket(d)
		if top(i) <= d-time.Microsecond || i > 0 && top(i-1) > d {
			t.Errorf("%v is in step %d up to %v", d, i, top(i))
		}
	}
	for i := range 100 {
		h.add(time.Duration(i) * ms)
	}
	if p := h.quantile(0.5); p < 49*ms || p > 62*ms {
		t.Error(p)
	}
	if p := h.quantile(0.99); p < 98*ms || p > 123*ms {
		t.Error(p)
	}
}
