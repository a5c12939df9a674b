package recorder

import (
	"bytes"
	"context"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"lineout/codecs/aac"
	"lineout/codecs/g711"
	"lineout/codecs/h264"
	"lineout/codecs/l16"
	"lineout/codecs/opus"
	"lineout/codecs/vp8"
	"lineout/media"
)

// smallest are tracks with the smallest frames their codecs have, so that the
// seeds of fuzz targets are made at once and are small.
var smallest = map[media.Codec]struct {
	rate, length int // a frame has so many samples
	sets         [][]byte
	key, other   []byte
}{
	h264.Name: {sets: [][]byte{{0x67, 0x42, 0xc0, 0x1f, 0xd9, 0x00, 0xa0, 0x2f, 0xf9, 0x70, 0x11, 0, 0, 3, 0, 1, 0, 0, 3, 0, 0x32, 0x8f, 0x18, 0x32, 0x48},
		{0x68, 0xce, 0x3c, 0x80}},
		key: []byte{0x65, 0x88}, other: []byte{0x41, 0x9a}},
	vp8.Name:  {key: []byte{0x10, 0x02, 0x00, 0x9d, 0x01, 0x2a, 16, 0, 16, 0}, other: []byte{0x31, 0, 0}},
	aac.Name:  {rate: aac.SampleRate, length: aac.FrameSize, sets: [][]byte{{0x11, 0x88}}, key: []byte{0x00, 0x00, 0x00, 0x07}},
	opus.Name: {rate: opus.ClockRate, length: 960, key: []byte{0xf8, 0xff, 0xfe}},
	g711.PCMA: {rate: g711.SampleRate, length: 4, key: []byte{1, 2, 3, 4}},
	g711.PCMU: {rate: g711.SampleRate, length: 4, key: []byte{1, 2, 3, 4}},
	l16.Name:  {rate: g711.SampleRate, length: 2, key: []byte{1, 2, 3, 4}},
}

// tiny is a growing file of a container with pictures and sound, "" for none.
func tiny(t testing.TB, c *container, video, audio media.Codec) []byte {
	h := header{meta: fileMeta{Stream: "x", Base: "x", Part: 1}}
	var tracks []*media.Track
	for kind, codec := range map[media.Kind]media.Codec{media.Video: video, media.Audio: audio} {
		if codec == "" {
			continue
		}
		k := smallest[codec]
		tr := &media.Track{Kind: kind, Codec: codec}
		tr.SetParams(&media.Params{SampleRate: k.rate, Channels: 1, Width: 16, Height: 16, Sets: k.sets})
		h.add(tr, tr.Params())
		tracks = append(tracks, tr)
	}
	l, err := createLive(t.TempDir(), c, h, 0)
	require.NoError(t, err)
	for i := range 6 {
		for _, tr := range tracks {
			k := smallest[tr.Codec]
			f := &media.Frame{Track: tr, Params: tr.Params(), Key: true, Data: [][]byte{k.key}, DTS: time.Duration(i) * 40 * time.Millisecond}
			if k.rate > 0 {
				f.DTS = ticksToTime(int64(i*k.length), int64(k.rate))
			} else if i%4 > 0 {
				f.Key, f.Data = false, [][]byte{k.other}
			}
			f.PTS = f.DTS
			require.NoError(t, l.write(f))
		}
		if i%3 == 2 {
			require.NoError(t, l.flush())
		}
	}
	require.NoError(t, l.f.Close())
	raw, err := os.ReadFile(l.path)
	require.NoError(t, err)
	return raw
}

// tinyFiles are growing files of all containers, by the extension's index.
func tinyFiles(t testing.TB, do func(which byte, raw []byte)) {
	for _, k := range []struct {
		c            *container
		video, audio media.Codec
	}{
		{mp4Container, h264.Name, aac.Name}, {mp4Opus, h264.Name, opus.Name}, {mp4Opus, "", opus.Name},
		{webmContainer, vp8.Name, opus.Name}, {h264MKV, h264.Name, g711.PCMA}, {h264MKV, h264.Name, aac.Name}, {vp8MKV, vp8.Name, g711.PCMU},
		{oggContainer, "", opus.Name}, {wavContainer, "", g711.PCMA}, {wavContainer, "", l16.Name},
	} {
		for i, c := range containers {
			if c.ext == k.c.ext {
				do(byte(i), tiny(t, k.c, k.video, k.audio))
				break
			}
		}
	}
}

// resealAll gives the pages of Ogg their checksums, without which nothing
// behind them would be reached.
func resealAll(b []byte) {
	for len(b) >= oggHead {
		n := oggHead + int(b[26])
		if len(b) < n {
			return
		}
		for _, s := range b[oggHead:n] {
			n += int(s)
		}
		if len(b) < n {
			return
		}
		sealPage(b[:n])
		b = b[n:]
	}
}

// The last bytes of a header before the media: in WAVE the head of the sound.
const headTail = 8

// narrow splits a growing file so that little of it is padding; widen puts it
// together again, whatever became of it.
func narrow(raw []byte) (head, tail, body []byte) {
	return bytes.TrimRight(raw[:headerSize-headTail], "\x00"), raw[headerSize-headTail : headerSize], raw[headerSize:]
}

func widen(head, tail, body []byte) []byte {
	b := make([]byte, headerSize, headerSize+len(body))
	copy(b, head[:min(len(head), headerSize)])
	copy(b[headerSize-headTail:], tail[:min(len(tail), headTail)])
	return append(b, body...)
}

// Whatever a disk makes of a growing file: what is believed of it stays within
// bounds, and what is made of it is whole.
func FuzzRecover(f *testing.F) {
	tinyFiles(f, func(which byte, raw []byte) {
		head, tail, body := narrow(raw)
		f.Add(which, head, tail, body)
		f.Add(which, head, tail, body[:len(body)-5])
		f.Add(which, head, tail, []byte(nil))
	})
	f.Fuzz(func(t *testing.T, which byte, head, tail, body []byte) {
		c := containers[int(which)%len(containers)]
		b := widen(head, tail, body)
		if c.ext == ".ogg" {
			resealAll(b)
		}
		s, err := c.scan(bytes.NewReader(b), int64(len(b)))
		if err != nil || s.empty() {
			return
		}
		if n := s.wholeSize(); n < headerSize || n > int64(len(b)) {
			t.Errorf("%d of %d bytes are whole", n, len(b))
		}
		s.facts().final(s.ending())
		if d := s.ending().duration; d < 0 {
			t.Errorf("it lasts %v", d)
		}
		s.contents()
		var out bytes.Buffer
		if err := s.rewrite(context.Background(), bytes.NewReader(b), &out); err == nil && out.Len() > len(b)*20+1<<20 {
			t.Errorf("%d bytes became %d", len(b), out.Len())
		}
	})
}

// Whatever a finished file holds, a verdict is reached, and those we make are
// whole.
func FuzzVerify(f *testing.F) {
	tinyFiles(f, func(which byte, raw []byte) {
		c := containers[which]
		s, err := c.scan(bytes.NewReader(raw), int64(len(raw)))
		require.NoError(f, err)
		var out bytes.Buffer
		require.NoError(f, s.rewrite(context.Background(), bytes.NewReader(raw), &out))
		for _, b := range [][]byte{out.Bytes(), raw} {
			_, err := checkerFor(c.ext)(context.Background(), bytes.NewReader(b), int64(len(b)))
			require.NoError(f, err, c.format)
			f.Add(which, b)
		}
	})
	f.Fuzz(func(t *testing.T, which byte, b []byte) {
		c := containers[int(which)%len(containers)]
		if c.ext == ".ogg" {
			b = bytes.Clone(b)
			resealAll(b)
		}
		if got, err := checkerFor(c.ext)(context.Background(), bytes.NewReader(b), int64(len(b))); err == nil {
			require.NotEmpty(t, got.tracks)
		}
	})
}
