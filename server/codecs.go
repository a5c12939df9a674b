package server

import (
	"log/slog"

	"lineout/codecs"
	"lineout/codecs/g729"
	"lineout/codecs/speex"
	"lineout/media"
)

// CodecInfo is what this server can do with a codec on this machine.
type CodecInfo struct {
	Name string `json:"name"`
	Kind string `json:"kind"`
	// Pass says that media goes on as it came to whatever takes the codec.
	Pass bool `json:"passThrough"`
	// Into and From are the codecs it is converted into and made of.
	Into []media.Codec `json:"convertedInto"`
	From []media.Codec `json:"madeOf"`
	// By is what decodes and encodes it, empty if nothing does.
	By string `json:"by"`
	// Missing says what is not there and how to get it.
	Missing string `json:"missing,omitempty"`
}

// Codecs lists what a server with these settings can do with each codec, those
// whose library is missing last.
func Codecs(s *Settings) []CodecInfo {
	t := codecTable(s, slog.New(slog.DiscardHandler))
	coders, _ := libraries()
	var out []CodecInfo
	for _, c := range t.All() {
		i := CodecInfo{Name: string(c.Name()), Kind: c.Kind().String(), Pass: true}
		for _, v := range t.Converters() {
			if v.From == c.Name() && v.To != v.From {
				i.Into = append(i.Into, v.To)
			}
			if v.To == c.Name() && v.To != v.From {
				i.From = append(i.From, v.From)
			}
		}
		i.By = by(c, coders)
		if c.Kind() == media.Video && len(i.Into) == 0 {
			i.By, i.Missing = "", "conversion needs the program ffmpeg with libx264 and libvpx (Debian package ffmpeg)"
		}
		out = append(out, i)
	}
	for _, c := range []codecs.Codec{speex.CodecNarrow, speex.CodecWide, g729.Codec} {
		if why := t.Missing(c.Name()); why != nil {
			out = append(out, CodecInfo{Name: string(c.Name()), Kind: c.Kind().String(), Missing: why.Error()})
		}
	}
	return out
}

func by(c codecs.Codec, coders []codecs.Coder) string {
	if c.Kind() == media.Video {
		return "ffmpeg"
	}
	for _, k := range coders {
		if k.Codec.Name() == c.Name() {
			return k.By
		}
	}
	return "lineout"
}
