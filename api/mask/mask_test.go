package mask

import (
	"strings"
	"testing"
)

func TestURL(t *testing.T) {
	for in, want := range map[string]string{
		"":                      "",
		"rtmp://h:1935/live":    "rtmp://h:1935/live",
		"rtmp://u:secret@h/a":   "rtmp://***:***@h/a",
		"rtmp://u:se@cret@h/a":  "rtmp://***:***@h/a",
		"rtmp://secret@h":       "rtmp://***:***@h",
		"rtmp://h/a?key=secret": "rtmp://h/a?key=***",
		"rtmp://h/a/_definst_?a=secret&b=secret&secret": "rtmp://h/a/_definst_?a=***&b=***&***",
		"h/live?key=secret":                             "h/live?key=***",
		"rtmp://h/a@b":                                  "rtmp://h/a@b",
	} {
		if got := URL(in); got != want {
			t.Errorf("URL(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestKeyedURL(t *testing.T) {
	for in, want := range map[string]string{
		"rtmp://h/live2/secret":                "rtmp://h/live2/***",
		"rtmps://u:secret@h/a/secret?b=secret": "rtmps://***:***@h/a/***?b=***",
		"rtmp://h":                             "rtmp://h",
		"rtmp://h/a/":                          "rtmp://h/a/",
	} {
		if got := KeyedURL(in); got != want {
			t.Errorf("KeyedURL(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzURL(f *testing.F) {
	for _, s := range []string{"rtmp://u:p@h/a?b=c", "://", "@", "?", "a?=&=", "rtmp://[::1]:1935/x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, got := range []string{URL(s), KeyedURL(s)} {
			if _, query, ok := strings.Cut(got, "?"); ok {
				for _, p := range strings.Split(query, "&") {
					if _, v, has := strings.Cut(p, "="); has && v != hidden {
						t.Errorf("%q shows a value in %q", s, got)
					}
				}
			}
		}
	})
}
