package codecs

import (
	"strings"

	"lineout/media"
)

// TelephoneEvent is the name of RFC 4733's events, which settings list among
// the codecs and which travels beside an audio codec.
const TelephoneEvent media.Codec = "telephone-event"

// ComfortNoise is the name of RFC 3389's descriptions of silence, which settings
// list among the codecs and which travel beside an audio codec.
const ComfortNoise media.Codec = "CN"

// names are the words of the settings that list codecs. Some name what nothing here can do: they are known all the same,
// because settings exclude them. "flv" stands for those of Flash.
var names = map[string]media.Codec{
	"alaw": "PCMA", "ulaw": "PCMU", "opus": "opus", "g722": "G722", "g729": "G729",
	"speex": "SPEEX/8000", "speex16": "SPEEX/16000", "cn": ComfortNoise, "mpeg4-generic": "AAC", "telephone-event": TelephoneEvent,
	"h264": "H264", "vp8": "VP8", "mpv": "MPV", "flv": "FLV",
}

// Named returns the codec that a word of a setting means.
func Named(setting string) (c media.Codec, known bool) {
	c, known = names[strings.ToLower(strings.TrimSpace(setting))]
	return c, known
}
