package h264

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strings"

	mch264 "github.com/bluenviron/mediacommon/v2/pkg/codecs/h264"

	"lineout/media"
)

const (
	// maxSets bounds the parameter sets kept: one SPS and some PPS.
	maxSets = 8
	// maxSetSize is far above any real parameter set.
	maxSetSize = 4096
	// maxPicture is the largest side in pixels (level 6.2 allows 16888).
	maxPicture = 16888
	// maxReorder bounds what an SPS may claim; encoders of calls use 2 at most.
	maxReorder = 4
)

// params implements codecs.Codec.Params. Sets are the SPS and then every PPS
// in force; each is a copy, so that they do not hold on to packets. While only
// one of the two is known there are no parameters.
func params(prev *media.Params, data [][]byte) *media.Params {
	var sps []byte
	var pps [maxSets - 1][]byte
	n := 0
	for _, nal := range data {
		if len(nal) > maxSetSize {
			continue
		}
		switch nalType(nal) {
		case nalSPS:
			sps = nal
		case nalPPS:
			if len(nal) > 1 && n < len(pps) {
				pps[n] = nal
				n++
			}
		}
	}
	if sps == nil && n == 0 || inForce(prev, sps, pps[:n]) {
		return prev
	}
	return merge(prev, sps, pps[:n])
}

// inForce says whether prev already holds all these sets.
func inForce(prev *media.Params, sps []byte, pps [][]byte) bool {
	if prev == nil || len(prev.Sets) == 0 || sps != nil && !bytes.Equal(sps, prev.Sets[0]) {
		return false
	}
	for _, p := range pps {
		if !contains(prev.Sets[1:], p) {
			return false
		}
	}
	return true
}

func contains(sets [][]byte, s []byte) bool {
	for _, have := range sets {
		if bytes.Equal(have, s) {
			return true
		}
	}
	return false
}

// merge makes the new parameters: a PPS takes the place of one with its id.
func merge(prev *media.Params, sps []byte, pps [][]byte) *media.Params {
	var old [][]byte
	if prev != nil && len(prev.Sets) > 0 {
		old = prev.Sets[1:]
		switch {
		case sps == nil:
			sps = prev.Sets[0]
		case len(pps) > 0 && !bytes.Equal(sps, prev.Sets[0]):
			old = nil // they belonged to the old SPS
		}
	}
	p, ok := describe(sps)
	if !ok {
		return prev
	}
	sets := [][]byte{bytes.Clone(sps)}
	for _, o := range old {
		if !replaced(o, pps) {
			sets = append(sets, o)
		}
	}
	for i, s := range pps {
		if !replaced(s, pps[i+1:]) && len(sets) < maxSets {
			sets = append(sets, bytes.Clone(s))
		}
	}
	if len(sets) < 2 {
		return prev
	}
	p.Sets = sets
	return p
}

func replaced(s []byte, by [][]byte) bool {
	for _, b := range by {
		if ppsID(b) == ppsID(s) {
			return true
		}
	}
	return false
}

// ppsID is pic_parameter_set_id, 0 to 255, the first field of a PPS (H.264
// section 7.3.2.2); -1 when it cannot be read.
func ppsID(pps []byte) int {
	if len(pps) < 2 {
		return -1
	}
	// Exp-Golomb: at most 8 leading zeros for 255, so 17 bits are enough.
	var v uint32
	for i := 1; i <= 4; i++ {
		v <<= 8
		if i < len(pps) {
			v |= uint32(pps[i])
		}
	}
	zeros := 0
	for v&(1<<31) == 0 {
		if zeros++; zeros > 8 {
			return -1
		}
		v <<= 1
	}
	return int(v>>(31-zeros)) - 1
}

// describe reads the picture's size and rate from an SPS.
func describe(sps []byte) (*media.Params, bool) {
	var s mch264.SPS
	if len(sps) < 4 || s.Unmarshal(sps) != nil {
		return nil, false
	}
	w, h := s.Width(), s.Height()
	if w <= 0 || h <= 0 || w > maxPicture || h > maxPicture {
		return nil, false
	}
	p := &media.Params{Width: w, Height: h, Reorder: reorder(&s)}
	if v := s.VUI; v != nil && v.TimingInfo != nil && v.TimingInfo.NumUnitsInTick > 0 && v.TimingInfo.TimeScale > 0 {
		// A rate no camera has is a sender's placeholder.
		if fps := s.FPS(); fps >= 1 && fps <= 300 {
			p.FrameRate = fps
		}
	}
	return p, true
}

// reorder is max_num_reorder_frames (H.264 section E.2.1), if the SPS has it and
// pictures are not shown as they come in any case (section 8.2.1.3).
func reorder(s *mch264.SPS) int {
	if s.PicOrderCntType == 2 || s.VUI == nil || s.VUI.BitstreamRestriction == nil {
		return 0
	}
	return int(min(s.VUI.BitstreamRestriction.MaxNumReorderFrames, maxReorder))
}

// Fmtp holds what an SDP format line says about H.264 (RFC 6184 section 8.1).
type Fmtp struct {
	// Mode is packetization-mode, 0 when absent.
	Mode int
	// ProfileLevelID is six hex digits in lower case, empty when absent.
	ProfileLevelID string
	// Params come from sprop-parameter-sets, nil when absent or useless:
	// what a phone announces there does not always match what it sends, so
	// in-band sets replace them.
	Params *media.Params
}

// ParseFmtp reads the part of an a=fmtp line after the payload type. Unknown
// parameters are ignored; an error names the parameter that is malformed, and
// what was read otherwise is still returned.
func ParseFmtp(line string) (Fmtp, error) {
	var f Fmtp
	var failed error
	for part := range strings.SplitSeq(line, ";") {
		key, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		value = strings.TrimSpace(value)
		switch strings.ToLower(strings.TrimSpace(key)) {
		case "packetization-mode":
			if value != "0" && value != "1" && value != "2" {
				failed = fmt.Errorf("reading H.264 fmtp: packetization-mode is %q, must be 0, 1 or 2", value)
				continue
			}
			f.Mode = int(value[0] - '0')
		case "profile-level-id":
			if len(value) != 6 || strings.Trim(value, "0123456789abcdefABCDEF") != "" {
				failed = fmt.Errorf("reading H.264 fmtp: profile-level-id is %q, must be six hex digits", value)
				continue
			}
			f.ProfileLevelID = strings.ToLower(value)
		case "sprop-parameter-sets":
			sets, err := parseSprop(value)
			if err != nil {
				failed = err
				continue
			}
			f.Params = params(nil, sets)
		}
	}
	return f, failed
}

func parseSprop(value string) ([][]byte, error) {
	var sets [][]byte
	for s := range strings.SplitSeq(value, ",") {
		if len(sets) == maxSets {
			break
		}
		// Some phones leave out the padding.
		b, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(strings.TrimSpace(s), "="))
		if err != nil {
			return nil, fmt.Errorf("reading H.264 fmtp: sprop-parameter-sets is not base64: %w", err)
		}
		if len(b) > 0 {
			sets = append(sets, b)
		}
	}
	return sets, nil
}
