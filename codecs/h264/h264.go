// Package h264 knows H.264 (ITU-T Rec. H.264) and its RTP payload (RFC 6184),
// packetization modes 0 and 1.
package h264

import (
	"encoding/hex"
	"time"

	"lineout/codecs"
	"lineout/media"
)

// Name is the codec's name as SDP writes it.
const Name media.Codec = "H264"

// ClockRate is the RTP clock in Hz (RFC 6184 section 8.2.1).
const ClockRate = 90000

// NAL unit types (H.264 table 7-1; those above 23 from RFC 6184 table 1).
const (
	nalSlice     = 1
	nalSliceA    = 2 // data partition A
	nalIDR       = 5
	nalSEI       = 6
	nalSPS       = 7
	nalPPS       = 8
	nalAUD       = 9
	nalEndSeq    = 10
	nalEndStream = 11
	nalFiller    = 12
	nalMaxSingle = 23
	nalSTAPA     = 24
	nalFUA       = 28
)

// Codec is the codec for a server's table.
var Codec codecs.Codec = codec{}

type codec struct{}

func (codec) Name() media.Codec               { return Name }
func (codec) Kind() media.Kind                { return media.Video }
func (codec) ClockRate() int                  { return ClockRate }
func (codec) Duration([][]byte) time.Duration { return 0 }

// Keyframe says whether the access unit holds an IDR slice. A recovery point
// SEI does not count: pictures after it may refer to what came before it, and
// most sinks cannot start there.
func (codec) Keyframe(data [][]byte) bool {
	for _, n := range data {
		if nalType(n) == nalIDR {
			return true
		}
	}
	return false
}

func (codec) Params(prev *media.Params, data [][]byte) *media.Params { return params(prev, data) }

func (codec) NewDepacketizer() codecs.Depacketizer { return &depacketizer{} }

// NewPacketizer packs in mode 1. mtu is the largest RTP payload in bytes; 0 or
// less means 1200.
func (codec) NewPacketizer(mtu int) codecs.Packetizer { return newPacketizer(mtu) }

// HasParameterSets says whether the access unit brings an SPS and a PPS of its
// own. A key frame without them needs those of media.Params put in front where
// a decoder starts (WebRTC, MPEG-TS).
func HasParameterSets(data [][]byte) bool {
	var sps, pps bool
	for _, n := range data {
		switch nalType(n) {
		case nalSPS:
			sps = true
		case nalPPS:
			pps = true
		}
	}
	return sps && pps
}

// ProfileLevel is what SDP calls profile-level-id (RFC 6184 section 8.1), in
// lower case, "" if there is no SPS.
func ProfileLevel(p *media.Params) string {
	if p == nil || len(p.Sets) == 0 || nalType(p.Sets[0]) != nalSPS || len(p.Sets[0]) < 4 {
		return ""
	}
	return hex.EncodeToString(p.Sets[0][1:4])
}

// nalType is 0 for an empty NAL unit.
func nalType(n []byte) byte {
	if len(n) == 0 {
		return 0
	}
	return n[0] & 0x1f
}

// isVCL says whether a NAL unit type holds part of a picture.
func isVCL(t byte) bool { return t >= nalSlice && t <= nalIDR }
