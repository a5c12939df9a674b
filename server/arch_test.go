package server

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// imports is the whole table of who may import whom inside the project. A
// pattern that ends in /... stands for the packages below it. Protocols are
// kept apart by it: the core (media, codecs, pipeline) knows none, legs and
// calls do not know each other's, and only the server knows all.
var imports = map[string][]string{
	"media":               {},
	"codecs":              {"media"},
	"codecs/internal/...": {"media", "codecs", "codecs/internal/..."},
	"codecs/...":          {"media", "codecs", "codecs/..."},
	"pipeline":            {"media", "codecs"},
	"pipeline/rtpin":      {"media", "codecs"},
	"pipeline/fillvideo":  {"media", "codecs/h264", "pipeline", "pipeline/sinktest"},
	"pipeline/sinktest":   {"media", "codecs", "codecs/...", "pipeline"},
	"outputs":             {"codecs", "pipeline", "pipeline/fillvideo"},
	"outputs/...":         {"media", "codecs", "codecs/...", "pipeline", "pipeline/fillvideo", "outputs", "api/fault", "api/loose", "api/mask"},
	"outputs/webrtc":      {"media", "codecs", "codecs/...", "pipeline", "outputs", "api/fault", "api/wish", "calls/rtc/transport"},
	"recorder":            {"media", "codecs", "codecs/...", "pipeline", "outputs", "api/fault", "api/loose", "api/mask"},
	"recorder/...":        {"media", "codecs", "codecs/...", "recorder/..."},
	"calls/leg":           {"media"},
	"calls/words":         {},
	"calls/limit":         {},
	"calls/users":         {"calls/words", "calls/limit"},
	"calls/trace":         {"media"},
	"calls/sip":           {"media", "codecs", "codecs/...", "calls/leg", "calls/forward", "calls/receive", "calls/transmit", "calls/limit", "calls/trace", "calls/words", "api/fault"},
	"calls/rtc":           {"media", "codecs", "codecs/...", "calls/leg", "calls/forward", "calls/receive", "calls/transmit", "calls/rtc/..."},
	"calls/rtc/transport": {},
	"calls/forward":       {},
	"calls/bridge":        {"media", "codecs", "codecs/...", "calls/leg", "calls/pack"},
	"calls/local":         {"media", "calls/leg", "calls/forward", "calls/receive", "calls/transmit", "api/fault"},
	"calls/pack":          {"media", "codecs", "codecs/..."},
	"calls/receive":       {},
	"calls/transmit":      {"calls/leg", "calls/forward"},
	"calls/send":          {"media", "codecs", "codecs/...", "calls/leg", "calls/pack", "pipeline"},
	"calls/sound":         {"media", "codecs", "codecs/...", "api/fault"},
	"calls/mix":           {"media", "codecs/l16", "codecs/resample", "pipeline"},
	"calls/tap":           {"media", "codecs", "calls/leg", "pipeline", "pipeline/rtpin"},
	"calls":               {"media", "codecs", "calls/leg", "calls/words", "calls/send", "calls/sound", "calls/tap", "calls/mix", "calls/bridge", "calls/local", "pipeline", "pipeline/rtpin", "api/fault", "api/mask"},
	"inputs/publish":      {"codecs", "calls/leg", "calls/rtc", "calls/tap", "pipeline", "pipeline/rtpin", "outputs", "api/fault", "api/wish"},
	"hooks":               {"calls", "calls/leg", "outputs", "api/mask"},
	"api/fault":           {},
	"api/loose":           {},
	"api/mask":            {},
	"api/wish":            {},
	"api/rest":            {"media", "pipeline", "outputs", "calls", "calls/bridge", "calls/leg", "api/fault", "api/loose", "api/mask"},
	"api/admin":           {"media", "pipeline", "outputs", "calls", "api/fault", "api/loose", "api/mask"},
	"api/doctor":          {"media", "calls", "calls/bridge", "calls/leg", "calls/trace", "api/fault", "api/rest"},
	"api/ws":              {"media", "pipeline", "outputs", "calls", "calls/leg", "calls/limit", "api/fault", "api/loose", "api/mask"},
	"configs":             {},
	"tools/gotest":        {},
	"web":                 {},
	"server":              {"..."},
	"cmd/lineout":         {"media", "configs", "server", "recorder"},
	"test/...":            {"..."},
}

func TestImportTable(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "lineout/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for _, line := range strings.Split(strings.TrimSpace(string(out)), "\n") {
		f := strings.Fields(line)
		pkg := strings.TrimPrefix(f[0], "lineout/")
		allowed, ok := rule(pkg)
		if !ok {
			t.Errorf("package %s is not in the import table: decide what it may know", pkg)
			continue
		}
		for _, imp := range f[1:] {
			if dep, ours := strings.CutPrefix(imp, "lineout/"); ours && !slices.ContainsFunc(allowed, func(p string) bool { return match(p, dep) }) {
				t.Errorf("%s imports %s, which the import table forbids", pkg, dep)
			}
			if imp == "lineout/codecs/internal/cpeer" {
				t.Errorf("%s imports %s, which is for tests", pkg, imp)
			}
		}
	}
}

// rule is the most exact line for a package.
func rule(pkg string) ([]string, bool) {
	best, found := "", false
	for p := range imports {
		if match(p, pkg) && (!found || len(p) > len(best) || p == pkg) && best != pkg {
			best, found = p, true
		}
	}
	return imports[best], found
}

func match(pattern, pkg string) bool {
	if pattern == "..." {
		return true
	}
	if below, ok := strings.CutSuffix(pattern, "/..."); ok {
		return strings.HasPrefix(pkg, below+"/")
	}
	return pattern == pkg
}

// The core must not know a protocol, not even by name.
func TestCoreNamesNoProtocol(t *testing.T) {
	for _, pkg := range []string{"media", "codecs", "pipeline", "pipeline/rtpin", "pipeline/fillvideo"} {
		out, err := exec.Command("go", "list", "-f", `{{join .Imports " "}}`, "lineout/"+pkg).Output()
		if err != nil {
			t.Fatalf("go list: %v", err)
		}
		for _, imp := range strings.Fields(string(out)) {
			for _, bad := range []string{"webrtc", "sipgo", "rtmp", "gohlslib", "net/http", "websocket", "pion/sdp"} {
				if strings.Contains(imp, bad) {
					t.Errorf("%s imports %s", pkg, imp)
				}
			}
		}
	}
}
