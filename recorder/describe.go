package recorder

import (
	"fmt"
	"time"

	"github.com/Eyevinn/mp4ff/mp4"

	"lineout/codecs/aac"
	"lineout/codecs/h264"
	"lineout/codecs/opus"
	"lineout/codecs/vp8"
	"lineout/media"
)

// contents implements scanned.
func (s *scan) contents() []SidecarTrack {
	zero := time.Duration(-1)
	for _, t := range s.tables {
		if from := ticksToTime(int64(t.start), int64(t.scale())); zero < 0 || from < zero {
			zero = from
		}
	}
	var l []SidecarTrack
	for _, t := range s.tables {
		d := describeEntry(t.trak.Mdia.Minf.Stbl.Stsd)
		d.Frames, d.Keyframes = int64(len(t.sizes)), int64(len(t.keys))
		for _, n := range t.sizes {
			d.Bytes += int64(n)
		}
		d.StartMS = roundMS(ticksToTime(int64(t.start), int64(t.scale())) - zero)
		d.EndMS = roundMS(ticksToTime(int64(t.end()), int64(t.scale())) - zero)
		l = append(l, d)
	}
	return l
}

// describeEntry says what a sample description says.
func describeEntry(stsd *mp4.StsdBox) SidecarTrack {
	switch {
	case stsd.AvcX != nil:
		d := SidecarTrack{Kind: media.Video.String(), Codec: string(h264.Name), Width: int(stsd.AvcX.Width), Height: int(stsd.AvcX.Height)}
		if c := stsd.AvcX.AvcC; c != nil {
			d.Parameters = fmt.Sprintf("%s.%02X%02X%02X", stsd.AvcX.Type(), c.AVCProfileIndication, c.ProfileCompatibility, c.AVCLevelIndication)
		}
		return d
	case stsd.Mp4a != nil:
		return SidecarTrack{Kind: media.Audio.String(), Codec: string(aac.Name), Parameters: "mp4a.40.2",
			SampleRate: int(stsd.Mp4a.SampleRate), Channels: int(stsd.Mp4a.ChannelCount)}
	}
	return SidecarTrack{}
}

func roundMS(d time.Duration) int64 { return d.Round(time.Millisecond).Milliseconds() }

// describeTrack says what a WebM TrackEntry says.
func describeTrack(entry []byte) SidecarTrack {
	var d SidecarTrack
	_, head, _ := parseElement(entry)
	eachElement(entry[head:], func(id uint32, _, _ int, p []byte) bool {
		switch id {
		case idCodecID:
			switch string(p) {
			case "V_VP8":
				d.Codec, d.Parameters = string(vp8.Name), "vp8"
			case "A_OPUS":
				d.Codec, d.Parameters = string(opus.Name), "opus"
			}
		case idTrackType:
			d.Kind = map[uint64]string{1: media.Video.String(), 2: media.Audio.String()}[uintOf(p)]
		case idVideo:
			eachElement(p, func(id uint32, _, _ int, p []byte) bool {
				switch id {
				case idPixelWidth:
					d.Width = int(uintOf(p))
				case idPixelHeight:
					d.Height = int(uintOf(p))
				}
				return true
			})
		case idAudio:
			d.SampleRate = opus.ClockRate
			eachElement(p, func(id uint32, _, _ int, p []byte) bool {
				if id == idChannels {
					d.Channels = int(uintOf(p))
				}
				return true
			})
		}
		return true
	})
	return d
}

// contents implements scanned.
func (s *webmScan) contents() []SidecarTrack {
	var l []SidecarTrack
	zero := s.begin()
	for _, n := range []byte{videoID, audioID} {
		t := s.tracks[n]
		if t == nil {
			continue
		}
		d := describeTrack(t.entry)
		d.Frames, d.Keyframes, d.Bytes = int64(t.blocks), int64(t.keys), t.bytes
		d.StartMS, d.EndMS = roundMS(t.start-zero), roundMS(t.end-zero)
		l = append(l, d)
	}
	return l
}
