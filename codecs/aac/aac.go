// Package aac knows AAC-LC (ISO/IEC 14496-3): raw access units of 1024 samples
// without ADTS, described by an AudioSpecificConfig, and its RTP payload in the
// AAC-hbr mode of RFC 3640. An encoder stands behind a small interface.
package aac

import (
	"time"

	"lineout/codecs"
	"lineout/media"
)

// Name is the codec's name.
const Name media.Codec = "AAC"

// FrameSize is the samples per channel in an access unit.
const FrameSize = 1024

// SampleRate in Hz is what the server encodes at, and the RTP clock of Codec.
const SampleRate = 48000

// Codec is the codec for a server's table.
var Codec codecs.Codec = codec{}

type codec struct{}

func (codec) Name() media.Codec      { return Name }
func (codec) Kind() media.Kind       { return media.Audio }
func (codec) ClockRate() int         { return SampleRate }
func (codec) Keyframe([][]byte) bool { return true }

// Params returns prev: AAC's parameters come out of band, from the encoder or
// from SDP, and never in an access unit.
func (codec) Params(prev *media.Params, _ [][]byte) *media.Params { return prev }

// Duration counts 1024 samples at SampleRate for each access unit.
func (codec) Duration(data [][]byte) time.Duration {
	return time.Duration(len(data)) * FrameSize * time.Second / SampleRate
}

func (codec) NewDepacketizer() codecs.Depacketizer    { return &depacketizer{} }
func (codec) NewPacketizer(mtu int) codecs.Packetizer { return newPacketizer(mtu) }
