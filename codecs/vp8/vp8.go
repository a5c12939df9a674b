// Package vp8 knows VP8 (RFC 6386) and its RTP payload (RFC 7741).
package vp8

import (
	"encoding/binary"
	"time"

	"lineout/codecs"
	"lineout/media"
)

// Name is the codec's name as SDP writes it.
const Name media.Codec = "VP8"

// ClockRate is the RTP clock in Hz (RFC 7741 section 4.1).
const ClockRate = 90000

// Codec is the codec for a server's table.
var Codec codecs.Codec = codec{}

type codec struct{}

func (codec) Name() media.Codec               { return Name }
func (codec) Kind() media.Kind                { return media.Video }
func (codec) ClockRate() int                  { return ClockRate }
func (codec) Duration([][]byte) time.Duration { return 0 }

// Keyframe reads the frame tag (RFC 6386 section 9.1).
func (codec) Keyframe(data [][]byte) bool {
	_, _, ok := size(data)
	return ok
}

// Params are the picture's size, which only key frames say.
func (codec) Params(prev *media.Params, data [][]byte) *media.Params {
	w, h, ok := size(data)
	if !ok || prev != nil && prev.Width == w && prev.Height == h {
		return prev
	}
	return &media.Params{Width: w, Height: h}
}

func (codec) NewDepacketizer() codecs.Depacketizer { return &depacketizer{} }

// NewPacketizer returns a packetizer for payloads of at most mtu bytes; 0 or
// less means 1200.
func (codec) NewPacketizer(mtu int) codecs.Packetizer { return newPacketizer(mtu) }

// size reads the header of a key frame: a 3 byte tag whose lowest bit is 0, a
// start code, and width and height of 14 bits each with 2 bits of scaling.
func size(data [][]byte) (w, h int, ok bool) {
	if len(data) == 0 || len(data[0]) < 10 {
		return 0, 0, false
	}
	b := data[0]
	if b[0]&1 != 0 || b[3] != 0x9d || b[4] != 0x01 || b[5] != 0x2a {
		return 0, 0, false
	}
	w = int(binary.LittleEndian.Uint16(b[6:]) & 0x3fff)
	h = int(binary.LittleEndian.Uint16(b[8:]) & 0x3fff)
	return w, h, w > 0 && h > 0
}
