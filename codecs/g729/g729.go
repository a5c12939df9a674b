// Package g729 knows G.729 (ITU-T Rec. G.729 with annexes A and B) and its RTP
// payload (RFC 3551 section 4.5.6), static payload type 18: frames of 10 ms in
// 10 bytes, any number of them in a packet, the last of which may be a silence
// descriptor of 2 bytes. Decoder and encoder are those of libbcg729, if it is
// installed.
package g729

import (
	"time"

	"lineout/codecs"
	"lineout/codecs/internal/onepacket"
	"lineout/media"
)

// Name is the codec's name as SDP writes it.
const Name media.Codec = "G729"

const (
	// SampleRate is the sampling and RTP clock rate in Hz.
	SampleRate = 8000
	// MaxFrames is the longest packet that is taken, 200 ms (RFC 3551 section
	// 4.2): what a receiver should be ready for.
	MaxFrames = 20

	frameBytes   = 10
	sidBytes     = 2
	frameSamples = SampleRate / 100
)

// Codec is the codec for a server's table.
var Codec codecs.Codec = codec{}

var params = media.Params{SampleRate: SampleRate, Channels: 1}

type codec struct{}

func (codec) Name() media.Codec      { return Name }
func (codec) Kind() media.Kind       { return media.Audio }
func (codec) ClockRate() int         { return SampleRate }
func (codec) Keyframe([][]byte) bool { return true }

// Params is always the same: G.729 has none.
func (codec) Params(prev *media.Params, _ [][]byte) *media.Params {
	if prev != nil {
		return prev
	}
	return &params
}

// Duration is 10 ms for each frame and silence descriptor, 0 for a malformed packet.
func (codec) Duration(data [][]byte) time.Duration {
	n := 0
	for _, d := range data {
		n += Frames(d)
	}
	return time.Duration(n) * 10 * time.Millisecond
}

func (codec) NewDepacketizer() codecs.Depacketizer    { return &onepacket.Depacketizer{} }
func (codec) NewPacketizer(mtu int) codecs.Packetizer { return onepacket.NewPacketizer(mtu) }
func (codec) Silence() []byte                         { return silence[:] }

// Frames is how many frames of 10 ms a packet holds, silence descriptor
// included; 0 if it is malformed or longer than MaxFrames.
func Frames(packet []byte) int {
	n := len(packet) / frameBytes
	switch len(packet) % frameBytes {
	case 0:
	case sidBytes:
		n++
	default:
		return 0
	}
	if n > MaxFrames {
		return 0
	}
	return n
}
