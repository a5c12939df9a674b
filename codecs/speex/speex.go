// Package speex knows Speex and its RTP payload (RFC 5574) at 8 and 16 kHz: one
// or more frames of 20 ms in a packet, each as long as its own mode says, with
// padding at the end. Decoder and encoder are those of libspeex, if it is
// installed.
package speex

import (
	"time"

	"lineout/codecs"
	"lineout/codecs/internal/onepacket"
	"lineout/media"
)

// The codecs' names: that of SDP, with the clock rate that tells them apart.
const (
	Narrow media.Codec = "SPEEX/8000"
	Wide   media.Codec = "SPEEX/16000"
)

const (
	// NarrowRate and WideRate are the sampling and RTP clock rates in Hz.
	NarrowRate = 8000
	WideRate   = 16000
)

// The codecs for a server's table.
var (
	CodecNarrow codecs.Codec = codec{Narrow, &media.Params{SampleRate: NarrowRate, Channels: 1}, silenceNarrow[:]}
	CodecWide   codecs.Codec = codec{Wide, &media.Params{SampleRate: WideRate, Channels: 1}, silenceWide[:]}
)

type codec struct {
	name    media.Codec
	params  *media.Params
	silence []byte
}

func (c codec) Name() media.Codec    { return c.name }
func (codec) Kind() media.Kind       { return media.Audio }
func (c codec) ClockRate() int       { return c.params.SampleRate }
func (codec) Keyframe([][]byte) bool { return true }

// Params is always the same: what RFC 5574 calls parameters a decoder finds in
// every frame.
func (c codec) Params(prev *media.Params, _ [][]byte) *media.Params {
	if prev != nil {
		return prev
	}
	return c.params
}

// Duration is 20 ms for each frame, 0 for a malformed packet.
func (codec) Duration(data [][]byte) time.Duration {
	n := 0
	for _, d := range data {
		n += Frames(d)
	}
	return time.Duration(n) * 20 * time.Millisecond
}

func (codec) NewDepacketizer() codecs.Depacketizer    { return &onepacket.Depacketizer{} }
func (codec) NewPacketizer(mtu int) codecs.Packetizer { return onepacket.NewPacketizer(mtu) }
func (c codec) Silence() []byte                       { return c.silence }
