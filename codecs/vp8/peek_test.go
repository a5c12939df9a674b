package vp8

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
		"empty":            {nil, false},
		"key frame":        {[]byte{0x10, 0x00}, true},
		"with picture ID":  {[]byte{0x90, 0x80, 0x81, 0x02, 0x10}, true},
		"inter frame":      {[]byte{0x10, 0x01}, false},
		"not the first":    {[]byte{0x00, 0x00}, false},
		"second partition": {[]byte{0x11, 0x00}, false},
		"cut off":          {[]byte{0x90, 0x80}, false},
	} {
		if got := peek(c.payload); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func FuzzKeyframeBegins(f *testing.F) {
	f.Add([]byte{0x90, 0x80, 0x81, 0x02, 0x10})
	f.Fuzz(func(t *testing.T, b []byte) { Codec.(codecs.Peeker).KeyframeBegins(b) })
}
