package recorder

import (
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

var someFacts = facts{stream: "call_stream1", mediaSession: "5f0c", session: "/127.0.0.1:1/x", login: "10005",
	start: time.UnixMilli(1563776083752), startServer: time.UnixMilli(1563776083999)}

func TestNames(t *testing.T) {
	end := ending{duration: 90500 * time.Millisecond, audio: "AAC", video: "H264"}
	for template, want := range map[string][2]string{
		"stream-{mediaSessionId}-{login}":       {"stream-5f0c-10005", "stream-5f0c-10005"},
		"{streamName}-{startTime}-{endTime}":    {"call_stream1-1563776083752-{endTime}", "call_stream1-1563776083752-1563776174252"},
		"{startTimeMillis}_{endTimeMillis}":     {"1563776083999_{endTimeMillis}", "1563776083999_1563776174499"},
		"{sessionId}":                           {"%2F127.0.0.1%3A1%2Fx", "%2F127.0.0.1%3A1%2Fx"},
		"{duration}ms {videoCodec}{audioCodec}": {"{duration}ms%20{videoCodec}{audioCodec}", "90500ms%20H264AAC"},
		"a/../b":                                {"a%2F.%2E%2Fb", "a%2F.%2E%2Fb"},
		"{open":                                 {"%7Bopen", "%7Bopen"},
		"звонок-{login}":                        {"звонок-10005", "звонок-10005"},
		"...":                                   {"_.%2E%2E", "_.%2E%2E"},
	} {
		base := someFacts.early(template)
		require.Equal(t, want[0], base)
		m := fileMeta{Base: base, StartMS: someFacts.start.UnixMilli(), StartServerMS: someFacts.startServer.UnixMilli()}
		require.Equal(t, want[1], m.final(end))
	}
}

func TestRotationSetting(t *testing.T) {
	for s, want := range map[string]rotation{"": {}, "0": {}, "10": {after: 10 * time.Second}, "20M": {bytes: 20 << 20}, "1g": {bytes: 1 << 30}, " 5k ": {bytes: 5 << 10}} {
		got, err := parseRotation(s)
		require.NoError(t, err)
		require.Equal(t, want, got, s)
	}
	for _, s := range []string{"-1", "M", "1T", "1.5M", "99999999999999999999", "9999999999G"} {
		_, err := parseRotation(s)
		require.Error(t, err, s)
	}
}

// A name, whatever it is made of, is one safe file in the folder.
func checkName(t interface{ Fatalf(string, ...any) }, base string) {
	final := fileMeta{Base: base}.final(ending{})
	for _, n := range []string{base + webmContainer.live(), final + webmContainer.ext, cut(final, maxBase) + "_9999999" + ".webm"} {
		if len(n) > 255 || !utf8.ValidString(n) || strings.ContainsAny(n, "/\\\x00\n") || strings.Contains(n, "..") ||
			n[0] == '.' || n[0] == '-' || filepath.Join("/d", n) != "/d/"+n {
			t.Fatalf("unsafe name %q", n)
		}
	}
	if isLive(final+".mp4") || isTemp(final+".mp4") {
		t.Fatalf("%q would be taken for a working file", final)
	}
}

func TestNamesAreSafe(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := facts{stream: rapid.String().Draw(t, "stream"), login: rapid.String().Draw(t, "login"), session: rapid.String().Draw(t, "session")}
		template := rapid.StringOf(rapid.SampledFrom([]rune("{}streamNamlogi./\\% -é\x00"))).Draw(t, "template")
		checkName(t, f.early(template))
		checkName(t, f.early("{streamName}"+template+"{login}"))
	})
}

func FuzzName(f *testing.F) {
	f.Add("{streamName}-{login}", "a/b", "..")
	f.Add("{endTime}", "\xff{endTime}", strings.Repeat("%", 300))
	f.Add(".live", "x.live", "x.tmp")
	f.Fuzz(func(t *testing.T, template, stream, login string) {
		checkName(t, facts{stream: stream, login: login}.early(template))
	})
}
