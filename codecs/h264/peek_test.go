package h264

import (
	"testing"

	"lineout/codecs"
)

func TestKeyframeBegins(t *testing.T) {
	peek := Codec.(codecs.Peeker).KeyframeBegins
	for name, c := range map[string]struct {
		payload []byte
		want    bool
	}{
		"empty":                   {nil, false},
		"IDR":                     {[]byte{0x65, 1}, true},
		"SPS":                     {[]byte{0x67, 1}, true},
		"PPS":                     {[]byte{0x68, 1}, false},
		"slice":                   {[]byte{0x41, 1}, false},
		"first fragment of IDR":   {[]byte{0x7c, 0x85, 1}, true},
		"later fragment of IDR":   {[]byte{0x7c, 0x05, 1}, false},
		"first fragment of slice": {[]byte{0x7c, 0x81, 1}, false},
		"fragment without header": {[]byte{0x7c}, false},
		"SPS behind AUD in STAP":  {[]byte{0x78, 0, 2, 9, 0, 0, 2, 0x67, 1}, true},
		"PPS in STAP":             {[]byte{0x78, 0, 2, 0x68, 1}, false},
		"STAP cut off":            {[]byte{0x78, 0, 9, 0x67, 1}, false},
		"STAP of nothing":         {[]byte{0x78, 0, 0, 0, 0, 0x67}, false},
	} {
		if got := peek(c.payload); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func FuzzKeyframeBegins(f *testing.F) {
	f.Add([]byte{0x78, 0, 2, 9, 0, 0, 2, 0x67, 1})
	f.Fuzz(func(t *testing.T, b []byte) { Codec.(codecs.Peeker).KeyframeBegins(b) })
}
