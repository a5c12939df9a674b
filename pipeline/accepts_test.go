package pipeline

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"lineout/media"
)

// chooser is a sink whose codecs depend on the stream's video, as a recorder's
// container does.
type chooser struct {
	probe
	other atomic.Bool
}

func (c *chooser) Accepts() Accepts {
	if c.other.Load() {
		return Accepts{Video: []media.Codec{"W"}}
	}
	return anyCodec
}

func TestSinkIsAskedWhenTracksAreKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, nil, false)
		c := &chooser{}
		b.s.Attach("p", c, Policy{})
		synctest.Wait()
		w := &media.Track{ID: "w", Kind: media.Video, Codec: "W", ClockRate: 90000}
		b.s.AddTrack(w)
		c.other.Store(true) // attached before, but not asked yet
		b.s.SetReady()
		b.s.Write(frame(w, 0, true))
		synctest.Wait()
		if got := c.opened(); len(got) != 1 || len(got[0]) != 1 || got[0][0] != w {
			t.Errorf("opened with %v", got)
		}
		b.stop()
	})
}

func TestSinkThatChangesItsMindIsOpenedAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, nil, true)
		c := &chooser{}
		at, _ := b.s.Attach("p", c, Policy{Lossless: true})
		synctest.Wait()
		b.s.Write(frame(b.v, 0, true))
		b.s.Write(frame(b.a, 0, true))
		synctest.Wait()
		w := &media.Track{ID: "w", Kind: media.Video, Codec: "W", ClockRate: 90000}
		c.other.Store(true)
		b.s.AddTrack(w)
		synctest.Wait()
		b.s.Write(frame(b.a, 20, true)) // not wanted any more
		b.s.Write(frame(w, 30, false))
		b.s.Write(frame(w, 40, true))
		b.s.Write(frame(w, 80, false))
		synctest.Wait()
		got := c.got()
		if len(got) != 4 || got[2].Track != w || !got[2].Key || got[3].DTS != 80*time.Millisecond {
			t.Fatalf("got %d frames", len(got))
		}
		if n, m := len(c.opened()), c.closed(); n != 2 || m != 1 {
			t.Errorf("%d opens, %d closes", n, m)
		}
		if st := at.State(); st != Active {
			t.Errorf("state %s, error %v", st, at.Err())
		}
		b.stop()
	})
}
