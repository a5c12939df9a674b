// Package opus knows Opus (RFC 6716) and its RTP payload (RFC 7587): the RTP
// clock is always 48000 Hz and SDP always says two channels, whatever a packet
// holds. A decoder and an encoder stand behind small interfaces.
package opus

import (
	"time"

	"lineout/codecs"
	"lineout/codecs/internal/onepacket"
	"lineout/media"
)

// Name is the codec's name as SDP writes it.
const Name media.Codec = "opus"

// ClockRate is the RTP clock in Hz, for every Opus stream (RFC 7587 section 4.1).
const ClockRate = 48000

// MaxDuration is the longest packet there is (RFC 6716 section 3.2.5, R5).
const MaxDuration = 120 * time.Millisecond

// Codec is the codec for a server's table.
var Codec codecs.Codec = codec{}

var (
	params = media.Params{SampleRate: ClockRate, Channels: 2}
	// silence is one CELT fullband mono frame of 20 ms whose payload says
	// "silence": the packet every browser sends for a muted track.
	silence = [...]byte{0xf8, 0xff, 0xfe}
)

type codec struct{}

func (codec) Name() media.Codec      { return Name }
func (codec) Kind() media.Kind       { return media.Audio }
func (codec) ClockRate() int         { return ClockRate }
func (codec) Keyframe([][]byte) bool { return true }

// Params is always 48000 Hz and two channels: mono and stereo packets may
// alternate freely, and every decoder takes both.
func (codec) Params(prev *media.Params, _ [][]byte) *media.Params {
	if prev != nil {
		return prev
	}
	return &params
}

// Duration is 0 for a malformed packet.
func (codec) Duration(data [][]byte) time.Duration {
	var sum time.Duration
	for _, d := range data {
		sum += PacketDuration(d)
	}
	return sum
}

func (codec) NewDepacketizer() codecs.Depacketizer    { return &onepacket.Depacketizer{} }
func (codec) NewPacketizer(mtu int) codecs.Packetizer { return onepacket.NewPacketizer(mtu) }
func (codec) Silence() []byte                         { return silence[:] }

// PacketDuration is the play time a packet declares in its first byte or two
// (RFC 6716 sections 3.1 and 3.2), 0 if the packet is empty or breaks the rules.
func PacketDuration(p []byte) time.Duration {
	if len(p) == 0 {
		return 0
	}
	frames := 1
	switch p[0] & 3 {
	case 1, 2:
		frames = 2
	case 3:
		if len(p) < 2 {
			return 0
		}
		frames = int(p[1] & 0x3f)
	}
	d := time.Duration(frames) * frameDuration(p[0]>>3)
	if d > MaxDuration {
		return 0
	}
	return d
}

// frameDuration maps a TOC configuration, 0 to 31, to its frame length.
func frameDuration(config byte) time.Duration {
	switch {
	case config < 12: // SILK: 10, 20, 40, 60 ms
		return [4]time.Duration{10, 20, 40, 60}[config&3] * time.Millisecond
	case config < 16: // hybrid: 10, 20 ms
		return time.Duration(config&1+1) * 10 * time.Millisecond
	}
	return 2500 * time.Microsecond << (config & 3) // CELT: 2.5, 5, 10, 20 ms
}

// Stereo says whether a packet is coded in stereo.
func Stereo(p []byte) bool { return len(p) > 0 && p[0]&4 != 0 }
