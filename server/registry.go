package server

import (
	"context"
	"log/slog"
	"strings"

	"lineout/codecs"
	"lineout/codecs/aac"
	"lineout/codecs/convert"
	"lineout/codecs/ffmpeg"
	"lineout/codecs/g711"
	"lineout/codecs/g722"
	"lineout/codecs/g729"
	"lineout/codecs/h264"
	"lineout/codecs/opus"
	"lineout/codecs/speex"
	"lineout/codecs/vp8"
	"lineout/media"
	"lineout/outputs"
	"lineout/outputs/hls"
	"lineout/outputs/rtmp"
	"lineout/outputs/webrtc"
	"lineout/recorder"
)

// codecTable is where a codec is added: one line. Conversions of video are
// those the ffmpeg of this machine can do; codecs of C libraries are there if
// their library is.
func codecTable(s *Settings, log *slog.Logger) *codecs.Table {
	all := []codecs.Codec{
		h264.Codec,
		vp8.Codec,
		opus.Codec,
		g711.CodecPCMA,
		g711.CodecPCMU,
		g722.Codec,
		aac.Codec,
	}
	coders, missing := libraries()
	for _, c := range coders {
		all = append(all, c.Codec)
	}
	t, unknown := codecs.NewTable(all, append(convert.All(coders...), ffmpeg.Converters(context.Background(), s.FFmpeg, log)...)).With(s.Codecs)
	if len(unknown) > 0 {
		log.Warn("codecs_exclude_streaming: some names are no codecs and mean nothing", "codecs", strings.Join(unknown, ","))
	}
	if s.Codecs.NoPassThrough && !t.Converts(h264.Name, h264.Name) {
		log.Warn("disable_streaming_proxy is true, but this machine cannot encode video anew: H.264 is passed on as it is", "remedy", "install ffmpeg with libx264")
	}
	for name, why := range missing {
		t.Lack(name, why)
	}
	return t
}

// libraries is where a codec of a C library is added: one line.
func libraries() (have []codecs.Coder, missing map[media.Codec]error) {
	missing = map[media.Codec]error{}
	for _, l := range []struct {
		open  func() ([]codecs.Coder, error)
		names []media.Codec
	}{
		{speex.Open, []media.Codec{speex.Narrow, speex.Wide}},
		{g729.Open, []media.Codec{g729.Name}},
	} {
		coders, err := l.open()
		if err != nil {
			for _, n := range l.names {
				missing[n] = err
			}
		}
		have = append(have, coders...)
	}
	return have, missing
}

// outputKinds is where an output is added: one line.
func outputKinds() []outputs.Kind {
	return []outputs.Kind{
		webrtc.Kind,
		rtmp.Kind(),
		hls.Kind,
		recorder.Kind,
	}
}
