package codecs

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"lineout/media"
)

func TestPlan(t *testing.T) {
	base := NewTable(nil, []Converter{
		{From: "PCMA", To: "AAC"}, {From: "PCMA", To: "opus"}, {From: "opus", To: "AAC"}, {From: "opus", To: "opus"},
		{From: "VP8", To: "H264"}, {From: "H264", To: "VP8"}, {From: "H264", To: "H264"}, {From: "VP8", To: "VP8"},
	})
	const pass, none, disabled = "pass", "none", "disabled"
	normal, fixed, anew, noH264 := Rules{}, Rules{NoConversion: true}, Rules{NoPassThrough: true},
		Rules{ExcludeStreaming: []string{"flv", " H264", "bogus"}}
	for _, x := range []struct {
		name   string
		rules  Rules
		stream bool
		have   media.Codec
		want   []media.Codec
		expect string
	}{
		{"pass-through wins in any order", normal, true, "VP8", []media.Codec{"H264", "VP8"}, pass},
		{"never to itself", normal, true, "H264", []media.Codec{"H264"}, pass},
		{"best first", normal, true, "PCMA", []media.Codec{"opus", "AAC"}, "opus"},
		{"no way", normal, true, "AAC", []media.Codec{"opus"}, none},

		{"what passes goes on", fixed, true, "H264", []media.Codec{"H264"}, pass},
		{"no conversion", fixed, true, "VP8", []media.Codec{"H264"}, disabled},
		{"nor for a file", fixed, false, "PCMA", []media.Codec{"AAC"}, disabled},

		{"anew", anew, true, "H264", []media.Codec{"VP8", "H264"}, "H264"},
		{"anew in another codec", anew, true, "PCMA", []media.Codec{"PCMA", "opus"}, "opus"},
		{"nothing else there", anew, true, "PCMA", []media.Codec{"PCMA"}, pass},
		{"files are not concerned", anew, false, "H264", []media.Codec{"H264"}, pass},

		{"left out", noH264, true, "H264", []media.Codec{"H264", "VP8"}, "VP8"},
		{"nothing is left", noH264, true, "H264", []media.Codec{"H264"}, none},
		{"no target either", noH264, true, "VP8", []media.Codec{"H264"}, none},
		{"in files it stays", noH264, false, "H264", []media.Codec{"H264"}, pass},
	} {
		table, unknown := base.With(x.rules)
		if want := len(x.rules.ExcludeStreaming) > 0; (len(unknown) == 1 && unknown[0] == "bogus") != want {
			t.Errorf("%s: unknown names %q", x.name, unknown)
		}
		asked := slices.Clone(x.want)
		c, err := table.Plan(x.have, x.want, x.stream)
		got := pass
		var off *DisabledError
		var np *NoPathError
		switch {
		case errors.As(err, &off):
			got = disabled
			if !strings.Contains(err.Error(), "Transcoding required, but disabled") {
				t.Errorf("%s: %v", x.name, err)
			}
		case errors.As(err, &np):
			got = none
		case c != nil:
			got = string(c.To)
		}
		if got != x.expect {
			t.Errorf("%s: %s, want %s (%v)", x.name, got, x.expect, err)
		}
		if !slices.Equal(asked, x.want) {
			t.Errorf("%s: the caller's list was changed to %v", x.name, x.want)
		}
	}
}

func TestRulesThatContradict(t *testing.T) {
	err := (&Rules{NoConversion: true, NoPassThrough: true}).Validate()
	if err == nil || !strings.Contains(err.Error(), "transcoding_disabled") || !strings.Contains(err.Error(), "disable_streaming_proxy") {
		t.Errorf("got %v, want an error that names both", err)
	}
	for _, r := range []Rules{{}, {NoConversion: true}, {NoPassThrough: true}} {
		if err := r.Validate(); err != nil {
			t.Error(err)
		}
	}
}
