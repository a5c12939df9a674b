package main

import (
	"encoding/json"
	"strings"
	"testing"

	"lineout/server"
)

// What the command says of codecs is what a server with the same settings has.
func TestCodecs(t *testing.T) {
	var out, errs strings.Builder
	if code := run(t.Context(), []string{"codecs", "--json", "--set", "ffmpeg="}, nil, &out, &errs); code != 0 {
		t.Fatalf("exit code %d: %s", code, errs.String())
	}
	var list []server.CodecInfo
	if err := json.Unmarshal([]byte(out.String()), &list); err != nil {
		t.Fatal(err)
	}
	found := map[string]server.CodecInfo{}
	for _, c := range list {
		found[c.Name] = c
	}
	if c := found["PCMA"]; !c.Pass || c.By != "lineout" || len(c.Into) < 3 || c.Missing != "" {
		t.Errorf("PCMA: %+v", c)
	}
	if c := found["VP8"]; !c.Pass || c.By != "" || !strings.Contains(c.Missing, "Debian package ffmpeg") {
		t.Errorf("VP8 without ffmpeg: %+v", c)
	}
	for _, n := range []string{"SPEEX/8000", "SPEEX/16000", "G729"} {
		if c := found[n]; (c.By == "") == (c.Missing == "") || c.Pass != (c.By != "") {
			t.Errorf("%s is neither there nor missing: %+v", n, c)
		}
	}
	out.Reset()
	if code := run(t.Context(), []string{"codecs"}, nil, &out, &errs); code != 0 || !strings.Contains(out.String(), "PCMU") {
		t.Errorf("exit code %d: %s", code, out.String())
	}
	if code := run(t.Context(), []string{"config", "--json"}, nil, &out, &errs); code != 2 {
		t.Errorf("config --json: exit code %d", code)
	}
}
