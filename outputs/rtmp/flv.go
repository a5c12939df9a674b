package rtmp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/bluenviron/gortmplib/pkg/amf0"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/h264"

	"lineout/media"
)

// Tag header bytes of Adobe's Video File Format Specification 10.1, E.4.3.1.
const (
	tagKeyframe    = 1<<4 | 7 // key frame, AVC
	tagInter       = 2<<4 | 7
	packetHeader   = 0 // AVC or AAC sequence header
	packetMedia    = 1
	packetAVCEnd   = 2
	codecIDAVC     = 7
	aacSampleRate  = 48000
	videoHeadBytes = 5
)

// NAL unit types (ITU-T H.264 table 7-1) that do not belong in an AVC tag:
// parameter sets travel in the sequence header, the others say nothing there.
const (
	naluSPS    = 7
	naluPPS    = 8
	naluAUD    = 9
	naluFiller = 12
)

// strip says that a NAL unit is left out of the tag.
func strip(nalu []byte) bool {
	if len(nalu) == 0 {
		return true
	}
	switch nalu[0] & 0x1f {
	case naluSPS, naluPPS, naluAUD, naluFiller:
		return true
	}
	return false
}

// avccSize is the size of an access unit in AVCC form, 0 if nothing is left of it.
func avccSize(units [][]byte) int {
	n := 0
	for _, u := range units {
		if !strip(u) {
			n += 4 + len(u)
		}
	}
	return n
}

// videoHead is the head of an AVC tag. cts is PTS-DTS in milliseconds.
func videoHead(b *[videoHeadBytes]byte, first, packet byte, cts int64) []byte {
	const limit = 1<<23 - 1
	cts = max(-limit, min(limit, cts))
	b[0], b[1], b[2], b[3], b[4] = first, packet, byte(cts>>16), byte(cts>>8), byte(cts)
	return b[:]
}

// avcRecord is the AVCDecoderConfigurationRecord (ISO/IEC 14496-15 section
// 5.3.3.1.2) of an SPS and its PPSs.
func avcRecord(sets [][]byte) ([]byte, error) {
	var sps, pps [][]byte
	for _, s := range sets {
		if len(s) == 0 || len(s) > 0xffff {
			continue
		}
		switch s[0] & 0x1f {
		case naluSPS:
			sps = append(sps, s)
		case naluPPS:
			pps = append(pps, s)
		}
	}
	if len(sps) == 0 || len(pps) == 0 || len(sps) > 31 || len(pps) > 255 || len(sps[0]) < 4 {
		return nil, fmt.Errorf("H.264 parameters hold %d SPS and %d PPS, that is no usable decoder configuration", len(sps), len(pps))
	}
	profile := sps[0][1]
	b := []byte{1, profile, sps[0][2], sps[0][3], 0xff, 0xe0 | byte(len(sps))}
	for _, s := range sps {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
	}
	b = append(b, byte(len(pps)))
	for _, p := range pps {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(p))), p...)
	}
	switch profile {
	case 100, 110, 122, 144: // the High profiles say their sample format as well
		var s h264.SPS
		if err := s.Unmarshal(sps[0]); err != nil {
			return nil, fmt.Errorf("read the H.264 SPS: %w", err)
		}
		b = append(b, 0xfc|byte(s.ChromaFormatIdc), 0xf8|byte(s.BitDepthLumaMinus8), 0xf8|byte(s.BitDepthChromaMinus8), 0)
	}
	return b, nil
}

// audioConfig is the AudioSpecificConfig in p.
func audioConfig(p *media.Params) ([]byte, error) {
	if p == nil || len(p.Sets) == 0 || len(p.Sets[0]) < 2 {
		return nil, errors.New("the AAC track has no AudioSpecificConfig")
	}
	return p.Sets[0], nil
}

// metadata is the value of onMetaData. Either track may be nil.
func metadata(video, audio *media.Track) amf0.ECMAArray {
	m := amf0.ECMAArray{{Key: "duration", Value: 0.0}}
	put := func(k string, v any) { m = append(m, amf0.ObjectEntry{Key: k, Value: v}) }
	if video != nil {
		if p := video.Params(); p != nil {
			if p.Width > 0 && p.Height > 0 {
				put("width", float64(p.Width))
				put("height", float64(p.Height))
			}
			if p.FrameRate > 0 {
				put("framerate", p.FrameRate)
			}
		}
		put("videocodecid", float64(codecIDAVC))
	}
	if audio != nil {
		rate, channels := audioForm(audio)
		if f := formatOf(audio.Codec); f != nil {
			put("audiocodecid", float64(f.id()))
		}
		put("audiosamplerate", float64(rate))
		put("audiosamplesize", 16.0)
		put("audiochannels", float64(channels))
		put("stereo", channels == 2)
	}
	put("encoder", "lineout")
	return m
}

// audioForm is the sample rate in Hz and the number of channels of a track.
func audioForm(t *media.Track) (rate, channels int) {
	rate, channels = t.ClockRate, t.Channels
	if p := t.Params(); p != nil {
		if p.SampleRate > 0 {
			rate = p.SampleRate
		}
		if p.Channels > 0 {
			channels = p.Channels
		}
	}
	if rate <= 0 {
		rate = aacSampleRate
	}
	if channels <= 0 {
		channels = 1
	}
	return rate, channels
}

// silence returns an AAC-LC access unit in which every scale factor band is
// empty, for 1 or 2 channels; nil for other numbers. It decodes to 1024 zero
// samples at any sample rate.
func silence(channels int) []byte {
	switch channels {
	case 1:
		return silentMono
	case 2:
		return silentStereo
	}
	return nil
}

var (
	silentMono   = []byte{0x00, 0xc8, 0x00, 0x80, 0x23, 0x80}
	silentStereo = []byte{0x21, 0x00, 0x49, 0x90, 0x02, 0x19, 0x00, 0x23, 0x80}
)

// clock turns the stream's timeline into RTMP timestamps: milliseconds from
// the first frame ever sent, growing strictly within a track over all
// connections of a push, so that a server that keeps a recording or a playlist
// open across a reconnect sees time go on.
type clock struct {
	started bool
	base    time.Duration
	last    [3]int64 // by media.Kind
	newest  int64
}

// stamp returns the timestamps of the next frame of a track.
func (c *clock) stamp(f *media.Frame) (dts, cts int64) {
	if !c.started {
		c.started, c.base = true, f.DTS
		c.last = [3]int64{-1, -1, -1}
	}
	dts = floorMS(f.DTS - c.base)
	cts = floorMS(f.PTS-c.base) - dts
	// A track whose first frame is older than the first frame sent has its
	// start pressed together by at most that difference.
	if last := &c.last[f.Track.Kind]; dts <= *last {
		cts += dts - *last - 1
		dts = *last + 1
	}
	c.last[f.Track.Kind] = dts
	c.newest = max(c.newest, dts)
	return dts, cts
}

// floorMS rounds towards the past, below zero as well.
func floorMS(d time.Duration) int64 {
	ms := d / time.Millisecond
	if d%time.Millisecond < 0 {
		ms--
	}
	return int64(ms)
}
