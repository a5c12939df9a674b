package server

import (
	"context"
	"log/slog"

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
func codecTable(c ffmpeg.Config, log *slog.Logger) *codecs.Table {
	return codecs.NewTable([]codecs.Codec{
		h264.Codec,
		vp8.Codec,
		opus.Codec,
		g711.CodecPCMA,
		g711.CodecPCMU,
		g722.Codec,
		aac.Codec,
	}, append(convert.All(), ffmpeg.Converters(context.Background(), c, log)...))
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
