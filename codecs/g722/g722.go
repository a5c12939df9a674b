// Package g722 knows G.722 at 64 kbit/s (ITU-T Rec. G.722 mode 1): 16000
// samples per second, two to a byte. Its RTP clock is 8000 Hz, by an
// old mistake that was kept (RFC 3551 section 4.5.2); static payload type 9.
package g722

import (
	"time"

	"lineout/codecs"
	"lineout/codecs/internal/onepacket"
	"lineout/media"
)

// Name is the codec's name as SDP writes it.
const Name media.Codec = "G722"

const (
	// ClockRate is the RTP clock in Hz.
	ClockRate = 8000
	// SampleRate is that of the sound in Hz.
	SampleRate = 16000
	// bytesPerSecond is one byte for two samples.
	bytesPerSecond = SampleRate / 2
)

// Codec is the codec for a server's table.
var Codec codecs.Codec = codec{}

var (
	params  = media.Params{SampleRate: SampleRate, Channels: 1}
	silence = quiet()
)

// quiet is 20 ms of the code that says "no difference" in the lower band and
// the smallest in the higher one. Any decoder settles on it within 20 ms, at
// a constant below -56 dBFS; the codes of zeros run through an encoder settle
// only in a decoder that had the same past.
func quiet() (b [SampleRate / 2 / 50]byte) {
	for i := range b {
		b[i] = 0xff
	}
	return b
}

type codec struct{}

func (codec) Name() media.Codec      { return Name }
func (codec) Kind() media.Kind       { return media.Audio }
func (codec) ClockRate() int         { return ClockRate }
func (codec) Keyframe([][]byte) bool { return true }

// Params is always the same: G.722 has none.
func (codec) Params(prev *media.Params, _ [][]byte) *media.Params {
	if prev != nil {
		return prev
	}
	return &params
}

// Duration is 125 us per byte.
func (codec) Duration(data [][]byte) time.Duration {
	n := 0
	for _, d := range data {
		n += len(d)
	}
	return time.Duration(n) * time.Second / bytesPerSecond
}

func (codec) NewDepacketizer() codecs.Depacketizer    { return &onepacket.Depacketizer{} }
func (codec) NewPacketizer(mtu int) codecs.Packetizer { return onepacket.NewPacketizer(mtu) }
func (codec) Silence() []byte                         { return silence[:] }
