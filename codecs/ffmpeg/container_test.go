package ffmpeg

import (
	"bufio"
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"lineout/codecs/h264"
	"lineout/codecs/vp8"
	"lineout/media"
)

// What one container's writer writes, its reader reads.
func TestContainersRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		flv := rapid.Bool().Draw(t, "flv")
		var m muxer = ivfMuxer{}
		if flv {
			m = flvMuxer{}
		}
		sets := [][]byte{{0x67, 0x42, 0xc0, 0x1e, 1}, {0x68, 2, 3}, {0x68, 4}}
		u := unit{key: true, params: &media.Params{Sets: sets}}
		b := m.header(nil, u, 640, 360)
		var want []picture
		ms := int64(0)
		for range rapid.IntRange(1, 5).Draw(t, "units") {
			ms += rapid.Int64Range(1, 1<<28).Draw(t, "step")
			body := append([]byte{0x41}, rapid.SliceOf(rapid.Byte()).Draw(t, "body")...)
			cts := int64(0)
			if flv {
				cts = rapid.Int64Range(0, 1<<20).Draw(t, "cts")
			}
			b = m.unit(b, unit{ms: ms, pts: ms + cts, data: [][]byte{body}})
			want = append(want, picture{ms: ms + cts, data: [][]byte{body}})
		}
		r := bufio.NewReader(bytes.NewReader(b))
		var d demuxer = &ivfDemuxer{r: r}
		if flv {
			d = &flvDemuxer{r: r}
		}
		for _, w := range want {
			p, err := d.next()
			require.NoError(t, err)
			require.Equal(t, w, p)
		}
		_, err := d.next()
		require.Error(t, err)
		if flv {
			require.Equal(t, sets, d.(*flvDemuxer).sets)
		}
	})
}

// Whatever times go in and whichever pictures come back, those that do keep
// their times to the nanosecond, and decoding time strictly grows.
func TestTimes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := kinds()[rapid.IntRange(0, len(kinds())-1).Draw(t, "kind")]
		c := &conversion{kind: k, child: &child{in: make(chan unit, maxUnderWay+1)}, lastMs: -1}
		var at time.Duration
		given := map[time.Duration]bool{}
		last := time.Duration(-1)
		gap := false // a picture that says so was fed and none was emitted since
		emit := func(f *media.Frame) {
			require.True(t, given[f.PTS], "%v was never given", f.PTS)
			require.Equal(t, f.PTS, f.DTS)
			require.Greater(t, f.DTS, last)
			require.False(t, gap && !f.Gap, "a loss was forgotten")
			last, gap = f.DTS, false
		}
		for range rapid.IntRange(1, 60).Draw(t, "pictures") {
			at += time.Duration(rapid.Int64Range(1, int64(200*time.Millisecond)).Draw(t, "step"))
			f := &media.Frame{PTS: at, DTS: at, Data: [][]byte{{0x41, 1}}, Gap: rapid.Bool().Draw(t, "gap")}
			given[at] = true
			c.gap = f.Gap
			c.feed(f)
			gap = gap || f.Gap
			u := <-c.child.in
			require.LessOrEqual(t, (at - time.Duration(u.pts)*time.Millisecond).Abs(), 60*time.Millisecond)
			if rapid.Bool().Draw(t, "back") {
				c.child.out = append(c.child.out, picture{ms: u.pts, data: f.Data})
				c.Collect(emit)
			}
		}
	})
}

func FuzzDemux(f *testing.F) {
	u := unit{key: true, params: &media.Params{Sets: [][]byte{{0x67, 0x42, 0xc0, 0x1e}, {0x68, 1}}}, data: [][]byte{{0x65, 1, 2, 3}}}
	f.Add(flvMuxer{}.unit(flvMuxer{}.header(nil, u, 2, 2), u), true)
	f.Add(ivfMuxer{}.unit(ivfMuxer{}.header(nil, u, 2, 2), u), false)
	f.Fuzz(func(t *testing.T, b []byte, flv bool) {
		var d demuxer = &ivfDemuxer{r: bufio.NewReader(bytes.NewReader(b))}
		k := vp8.Codec
		if flv {
			d, k = &flvDemuxer{r: bufio.NewReader(bytes.NewReader(b))}, h264.Codec
		}
		for {
			p, err := d.next()
			if err != nil {
				return
			}
			k.Keyframe(p.data)
			k.Params(nil, p.data)
		}
	})
}
