package recorder

import (
	"testing"

	"github.com/stretchr/testify/require"

	"lineout/codecs"
	"lineout/codecs/aac"
	"lineout/codecs/convert"
	"lineout/codecs/g711"
	"lineout/codecs/g722"
	"lineout/codecs/h264"
	"lineout/codecs/l16"
	"lineout/codecs/opus"
	"lineout/codecs/vp8"
	"lineout/media"
)

func TestContainerFollowsVideoAndFormats(t *testing.T) {
	both, mp4Only, webmOnly := []string{"h264-mp4", "vp8-webm"}, []string{"h264-mp4"}, []string{"vp8-webm"}
	conv := []codecs.Converter{{From: vp8.Name, To: h264.Name}, {From: h264.Name, To: vp8.Name}}
	for _, c := range []struct {
		name       string
		formats    []string
		conv       []codecs.Converter
		video      media.Codec
		want       *container
		wantsVideo media.Codec
	}{
		{"H.264", both, nil, h264.Name, mp4Container, h264.Name},
		{"VP8", both, nil, vp8.Name, webmContainer, vp8.Name},
		{"VP8 is not converted where it is listed", both, conv, vp8.Name, webmContainer, vp8.Name},
		{"sound alone", both, nil, "", mp4Container, h264.Name},
		{"VP8 not listed", mp4Only, nil, vp8.Name, mp4Container, h264.Name},
		{"VP8 converted", mp4Only, conv, vp8.Name, mp4Container, h264.Name},
		{"the first that is listed", []string{"h264-mkv", "h264-mp4", "vp8-mkv"}, nil, h264.Name, h264MKV, h264.Name},
		{"VP8 in Matroska", []string{"h264-mp4", "vp8-mkv"}, nil, vp8.Name, vp8MKV, vp8.Name},
		{"converted for the first", []string{"h264-mkv", "h264-mp4"}, conv, vp8.Name, h264MKV, h264.Name},
		{"sound alone begins where its video will not be", []string{"h264-mkv", "h264-mp4"}, nil, "", mp4Container, ""},
		{"H.264 not listed", webmOnly, nil, h264.Name, mp4Container, vp8.Name},
		{"H.264 converted", webmOnly, conv, h264.Name, webmContainer, vp8.Name},
		{"sound alone, MP4 not listed", webmOnly, conv, "", mp4Container, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, func(cfg *Config) { cfg.Formats = c.formats })
			b.env.Codecs = codecs.NewTable([]codecs.Codec{h264.Codec, vp8.Codec}, c.conv)
			s := b.sink("x", nil)
			if c.video != "" {
				s.r.stream.AddTrack(&media.Track{ID: "video", Kind: media.Video, Codec: c.video, ClockRate: 90000})
			}
			require.Equal(t, c.want.format, s.r.container().format)
			a := s.Accepts()
			require.Equal(t, c.want.audio, a.Audio)
			var wants []media.Codec
			if c.wantsVideo != "" {
				wants = append(wants, c.wantsVideo)
			}
			require.Equal(t, wants, a.Video)
		})
	}
}

// What a call has is kept where the file can hold it; what cannot be kept is
// converted to what loses least.
func TestSoundIsKeptOrConvertedWell(t *testing.T) {
	table := codecs.NewTable(nil, convert.All())
	for _, c := range []struct {
		k        *container
		have, as media.Codec
	}{
		{wavContainer, g711.PCMA, g711.PCMA}, {wavContainer, g711.PCMU, g711.PCMU}, {wavContainer, g722.Name, l16.Name}, {wavContainer, opus.Name, l16.Name},
		{oggContainer, opus.Name, opus.Name}, {oggContainer, g711.PCMA, opus.Name}, {oggContainer, g722.Name, opus.Name},
		{h264MKV, opus.Name, opus.Name}, {h264MKV, g711.PCMA, g711.PCMA}, {h264MKV, g722.Name, opus.Name}, {h264MKV, aac.Name, aac.Name},
		{mp4Container, opus.Name, aac.Name}, {mp4Opus, opus.Name, opus.Name}, {mp4Opus, g711.PCMA, opus.Name}, {mp4Opus, g722.Name, opus.Name}, {webmContainer, g711.PCMU, opus.Name},
	} {
		conv, err := table.Plan(c.have, c.k.audio, false)
		require.NoError(t, err)
		as := c.have
		if conv != nil {
			as = conv.To
		}
		require.Equal(t, c.as, as, "%s in %s", c.have, c.k.format)
	}
}
