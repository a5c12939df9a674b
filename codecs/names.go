package codecs

import (
	"strings"

	"lineout/media"
)

// TelephoneEvent is the name of RFC 4733's events, which settings list among
// the codecs and which travels beside an audio codec.
const TelephoneEvent media.Codec = "telephone-event"

// names are the words of the settings that list codecs. Some name what nothing here can do: they are known all the same,
// because settings exclude them. "flv" stands for those of Flash.
var names = map[string]media.Codec{
	"alaw": "PCMA", "ulaw": "PCMU", "opus": "opus", "g722": "G722", "g729": "G729",
	"speex16": "SPEEX", "mpeg4-generic": "AAC", "telephone-event": TelephoneEvent,
	"h264": "H264", "vp8": "VP8", "mpv": "MPV", "flv": "FLV",
}

// Named returns the codec that a word of a setting means.
func Named(setting string) (c media.Codec, known bool) {
	c, known = names[strings.ToLower(strings.TrimSpace(setting))]
	return c, known
}
