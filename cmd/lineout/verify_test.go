package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What verify finds is tested in package recorder; this is about the command.
func TestVerifyCommand(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "x.mp4")
	if err := os.WriteFile(bad, []byte("not an MP4"), 0o600); err != nil {
		t.Fatal(err)
	}
	missing := filepath.Join(t.TempDir(), "none.webm")
	code, out, errs := invoke(t.Context(), nil, "verify", bad, missing)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if code != 1 || errs != "" || len(lines) != 2 {
		t.Fatalf("code %d, said %q and %q", code, out, errs)
	}
	for i, file := range []string{bad, missing} {
		if !strings.HasPrefix(lines[i], "FAILED "+file+": ") {
			t.Errorf("line %d is %q", i, lines[i])
		}
	}
	code, out, _ = invoke(t.Context(), nil, "verify", "--json", "--no-sidecar", bad)
	var p struct {
		File, Reason string
		OK           bool
		Offset       *int64
	}
	if err := json.Unmarshal([]byte(out), &p); err != nil || code != 1 || p.OK || p.File != bad || p.Reason == "" || p.Offset == nil {
		t.Errorf("code %d, said %q: %v", code, out, err)
	}
	for _, args := range [][]string{{"verify"}, {"verify", "--fast", bad}} {
		if code, _, errs := invoke(t.Context(), nil, args...); code != 2 || !strings.Contains(errs, "lineout verify [--json]") {
			t.Errorf("%v: code %d, said %q", args, code, errs)
		}
	}
	if code, _, errs := invoke(t.Context(), nil, "verify", "--help"); code != 0 || !strings.Contains(errs, "--no-sidecar") {
		t.Errorf("help: code %d, said %q", code, errs)
	}
}
