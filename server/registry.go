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
	"lineout/codecs/h264"
	"lineout/codecs/opus"
	"lineout/codecs/vp8"
	"lineout/outputs"
	"lineout/outputs/hls"
	"lineout/outputs/rtmp"
	"lineout/outputs/webrtc"
	"lineout/recorder"
)

// codecTable is where a codec is added: one line. Conversions of video are
// those the ffmpeg of this machine can do.
func codecTable(s *Settings, log *slog.Logger) *codecs.Table {
	t, unknown := codecs.NewTable([]codecs.Codec{
		h264.Codec,
		vp8.Codec,
		opus.Codec,
		g711.CodecPCMA,
		g711.CodecPCMU,
		g722.Codec,
		aac.Codec,
	}, append(convert.All(), ffmpeg.Converters(context.Background(), s.FFmpeg, log)...)).With(s.Codecs)
	if len(unknown) > 0 {
		log.Warn("codecs_exclude_streaming: some names are no codecs and mean nothing", "codecs", strings.Join(unknown, ","))
	}
	if s.Codecs.NoPassThrough && !t.Converts(h264.Name, h264.Name) {
		log.Warn("disable_streaming_proxy is true, but this machine cannot encode video anew: H.264 is passed on as it is", "remedy", "install ffmpeg with libx264")
	}
	return t
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
