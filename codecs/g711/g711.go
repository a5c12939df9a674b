// Package g711 knows G.711 (ITU-T Rec. G.711), both laws: PCMU (mu-law) and
// PCMA (A-law), 8000 samples per second, one byte each, static RTP payload
// types 0 and 8 (RFC 3551 section 4.5.14).
package g711

import (
	"time"

	"lineout/codecs"
	"lineout/codecs/internal/onepacket"
	"lineout/media"
)

// The codec names as SDP writes them.
const (
	PCMU media.Codec = "PCMU"
	PCMA media.Codec = "PCMA"
)

// SampleRate is the sampling and RTP clock rate in Hz.
const SampleRate = 8000

// The codecs for a server's table.
var (
	CodecPCMU codecs.Codec = codec{PCMU, &silenceU}
	CodecPCMA codecs.Codec = codec{PCMA, &silenceA}
)

var (
	params   = media.Params{SampleRate: SampleRate, Channels: 1}
	silenceU = filled(0xff)
	silenceA = filled(0xd5)
)

// filled is 20 ms of one code: for both laws the code of the smallest positive value.
func filled(code byte) (b [SampleRate / 50]byte) {
	for i := range b {
		b[i] = code
	}
	return b
}

type codec struct {
	name    media.Codec
	silence *[SampleRate / 50]byte
}

func (c codec) Name() media.Codec    { return c.name }
func (codec) Kind() media.Kind       { return media.Audio }
func (codec) ClockRate() int         { return SampleRate }
func (codec) Keyframe([][]byte) bool { return true }

// Params is always the same: G.711 has none.
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
	return time.Duration(n) * time.Second / SampleRate
}

func (codec) NewDepacketizer() codecs.Depacketizer    { return &onepacket.Depacketizer{} }
func (codec) NewPacketizer(mtu int) codecs.Packetizer { return onepacket.NewPacketizer(mtu) }
func (c codec) Silence() []byte                       { return c.silence[:] }
