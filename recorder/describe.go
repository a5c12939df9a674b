package recorder

import (
	"fmt"
	"time"

	"github.com/Eyevinn/mp4ff/mp4"

	"lineout/codecs/aac"
	"lineout/codecs/g711"
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

// parameters are RFC 6381's codecs parameters of codecs that have but one.
var parameters = map[media.Codec]string{vp8.Name: "vp8", opus.Name: "opus", aac.Name: "mp4a.40.2", g711.PCMA: "alaw", g711.PCMU: "ulaw"}

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
		return SidecarTrack{Kind: media.Audio.String(), Codec: string(aac.Name), Parameters: parameters[aac.Name],
			SampleRate: int(stsd.Mp4a.SampleRate), Channels: int(stsd.Mp4a.ChannelCount)}
	case stsd.Opus != nil:
		return SidecarTrack{Kind: media.Audio.String(), Codec: string(opus.Name), Parameters: parameters[opus.Name],
			SampleRate: opus.ClockRate, Channels: int(stsd.Opus.ChannelCount)}
	}
	return SidecarTrack{}
}

func roundMS(d time.Duration) int64 { return d.Round(time.Millisecond).Milliseconds() }

// describe says what the TrackEntry says.
func (t *mkvTrack) describe() SidecarTrack {
	d := SidecarTrack{Codec: string(t.codec), Parameters: parameters[t.codec], SampleRate: t.rate}
	_, head, _ := parseElement(t.entry)
	eachElement(t.entry[head:], func(id uint32, _, _ int, p []byte) bool {
		switch id {
		case idCodecPrivate:
			if t.codec == h264.Name && len(p) > 3 {
				d.Parameters = fmt.Sprintf("avc1.%02X%02X%02X", p[1], p[2], p[3])
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
func (s *mkvScan) contents() []SidecarTrack {
	var l []SidecarTrack
	zero := s.begin()
	for _, n := range []byte{videoID, audioID} {
		t := s.tracks[n]
		if t == nil {
			continue
		}
		d := t.describe()
		d.Frames, d.Keyframes, d.Bytes = int64(t.blocks), int64(t.keys), t.bytes
		d.StartMS, d.EndMS = roundMS(t.start-zero), roundMS(t.end-zero)
		l = append(l, d)
	}
	return l
}
