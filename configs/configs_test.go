package configs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type base struct {
	IP string `setting:"ip" doc:"The address announced."`
}

type first struct {
	base
	Base2    base2
	Port     int           `setting:"http.port" default:"8081" min:"0" max:"65535" doc:"REST port, 0 switches it off."`
	Quiet    bool          `setting:"quiet" default:"false" doc:"Say less."`
	Wait     time.Duration `setting:"wait" default:"200ms" min:"1ms" max:"1m" doc:"How long to wait."`
	Idle     time.Duration `setting:"idle" default:"300" unit:"s" doc:"When to stop."`
	Gain     float64       `setting:"gain" default:"1.5" doc:"Louder."`
	Users    []string      `setting:"rest_users" secret:"true" doc:"Users."`
	Codecs   []string      `setting:"codecs" default:"opus,alaw" choices:"opus,alaw,ulaw" doc:"Codecs."`
	Mode     string        `setting:"mode" default:"fmp4" choices:"fmp4,ll" doc:"Variant."`
	unrelate int
}

type base2 struct{ X int }

type second struct {
	Address string `setting:"ip" doc:"The same name elsewhere."`
	Max     int64  `setting:"max_calls" default:"100" min:"1" doc:"Calls at once."`
	Bad     bool   `setting:"second.bad" doc:"Makes Validate fail." default:"false"`
}

func (s *second) Validate() error {
	if s.Bad {
		return errors.New("second.bad is set")
	}
	return nil
}

func file(t testing.TB, name, text string) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(p, []byte(text), 0o600))
	return p
}

func newSet(t testing.TB) (*Set, *first, *second) {
	t.Helper()
	a, b := &first{}, &second{}
	s, err := New(a, b)
	require.NoError(t, err)
	return s, a, b
}

func TestDefaultsAreFilledIn(t *testing.T) {
	_, a, b := newSet(t)
	require.Equal(t, first{Port: 8081, Wait: 200 * time.Millisecond, Idle: 300 * time.Second, Gain: 1.5,
		Codecs: []string{"opus", "alaw"}, Mode: "fmp4"}, *a)
	require.Equal(t, int64(100), b.Max)
}

func TestOrderOfSourcesAndSharedNames(t *testing.T) {
	s, a, b := newSet(t)
	path := file(t, "x.yaml", "ip: 192.0.2.1\nhttp:\n  port: 1\nwait: 5\nidle: 7\ngain: 2\n")
	warn, err := s.Load(Sources{File: path,
		Env:   []string{"LINEOUT_HTTP_PORT=2", "LINEOUT_WAIT=6", "LINEOUT_GAIN=", "HOME=/x", "LINEOUT_MAX_CALLS=9"},
		Flags: []string{"http.port=3", "http.port=4"}})
	require.NoError(t, err)
	require.Empty(t, warn)
	require.Equal(t, "192.0.2.1", a.IP)
	require.Equal(t, "192.0.2.1", b.Address)
	require.Equal(t, 4, a.Port)
	require.Equal(t, 6*time.Millisecond, a.Wait)
	require.Equal(t, 7*time.Second, a.Idle)
	require.Equal(t, 2.0, a.Gain)
	origin := map[string]string{}
	for _, v := range s.Effective() {
		origin[v.Name] = v.Origin
	}
	require.Equal(t, "flag", origin["http.port"])
	require.Equal(t, "env LINEOUT_WAIT", origin["wait"])
	require.Equal(t, "file "+path+":5", origin["idle"])
	require.Equal(t, "env LINEOUT_MAX_CALLS", origin["max_calls"])
	require.Equal(t, "default", origin["mode"])

	_, err = s.Load(Sources{})
	require.NoError(t, err)
	require.Equal(t, 8081, a.Port, "a second load starts from the defaults")
}

func TestPropertiesFile(t *testing.T) {
	s, a, _ := newSet(t)
	path := file(t, "flashphoner.properties", "\ufeff# a comment\n! another = 1\nip =192.0.2.9  \n"+
		"rest_users = a:${HOME}\ncodecs=opus,\\\n  ulaw\nhttp.port: 8000\nrtmfp.port=1935\nmode ll\r\nhtpp.port=1\nhttp.port=8001\n")
	warn, err := s.Load(Sources{File: path})
	require.NoError(t, err)
	require.Equal(t, "192.0.2.9", a.IP)
	require.Equal(t, []string{"a:${HOME}"}, a.Users, "no expansion")
	require.Equal(t, []string{"opus", "ulaw"}, a.Codecs)
	require.Equal(t, 8001, a.Port)
	require.Equal(t, "ll", a.Mode)
	require.Equal(t, []string{
		`setting "http.port" stands twice in ` + path + `: line 11 overrides line 7`,
		`setting "rtmfp.port" (file ` + path + `:8) is not needed here and ignored: Flash clients are not served`,
		`setting "htpp.port" (file ` + path + `:10) is not known and ignored; did you mean "http.port"?`,
	}, warn)
	for _, v := range s.Effective() {
		if v.Name == "http.port" {
			require.Equal(t, "file "+path+":11", v.Origin)
		}
		require.NotContains(t, v.Value, "HOME", "a secret is never shown")
	}
}

func TestYAMLForms(t *testing.T) {
	for name, tc := range map[string]struct {
		text string
		want func(*first)
		warn string
	}{
		"flat":                      {"http.port: 9\n", func(f *first) { f.Port = 9 }, ""},
		"nested":                    {"http: {port: 9}\n", func(f *first) { f.Port = 9 }, ""},
		"list":                      {"codecs:\n- ulaw\n- opus\n", func(f *first) { f.Codecs = []string{"ulaw", "opus"} }, ""},
		"comma list":                {"codecs: ulaw, opus\n", func(f *first) { f.Codecs = []string{"ulaw", "opus"} }, ""},
		"empty list":                {"codecs: []\n", func(f *first) { f.Codecs = nil }, ""},
		"quoted":                    {"http.port: \"9\"\nquiet: 'yes'\n", func(f *first) { f.Port = 9; f.Quiet = true }, ""},
		"null":                      {"http.port:\nmode: ~\n", func(*first) {}, ""},
		"empty file":                {"", func(*first) {}, ""},
		"only comment":              {"# nothing\n", func(*first) {}, ""},
		"explicit null document":    {"---\nnull\n", func(*first) {}, ""},
		"alias and merge":           {"x: &x {port: 9}\nhttp: *x\n", func(f *first) { f.Port = 9 }, `"x.port"`},
		"twice":                     {"gain: 1\ngain: 2\n", func(f *first) { f.Gain = 2 }, "line 2 overrides line 1"},
		"choice in other case":      {"mode: LL\ncodecs: OPUS\n", func(f *first) { f.Mode = "ll"; f.Codecs = []string{"opus"} }, ""},
		"one element for one value": {"mode: [ll]\n", func(f *first) { f.Mode = "ll" }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s, a, _ := newSet(t)
			_, want, _ := newSet(t)
			tc.want(want)
			warn, err := s.Load(Sources{File: file(t, "a.yml", tc.text)})
			require.NoError(t, err)
			require.Equal(t, want, a)
			require.Contains(t, strings.Join(warn, "\n"), tc.warn)
			if tc.warn == "" {
				require.Empty(t, warn)
			}
		})
	}
}

func TestUnreadableFiles(t *testing.T) {
	deep := strings.Repeat("{a: ", 20) + "1" + strings.Repeat("}", 20)
	bomb := "aa: &aa {}\n"
	for c := 'b'; c < 'o'; c++ {
		bomb += fmt.Sprintf("a%c: &a%c {", c, c)
		for j := range 10 {
			bomb += fmt.Sprintf("k%d: *a%c, ", j, c-1)
		}
		bomb += "}\n"
	}
	for name, tc := range map[string]struct{ ending, text, want string }{
		"ending":   {".ini", "", "use .yaml or .properties"},
		"syntax":   {".yaml", "a: [1\n", "yaml"},
		"list":     {".yaml", "- a\n", `"name: value"`},
		"text":     {".yaml", "hello\n", `"name: value"`},
		"two":      {".yaml", "a: 1\n---\nb: 1\n", "one YAML document"},
		"map list": {".yaml", "codecs: [{a: 1}]\n", "plain values"},
		"map key":  {".yaml", "{a: 1}: 2\n", "plain text"},
		"deep":     {".yaml", deep, "nested deeper"},
		"bomb":     {".yaml", bomb, "more than 10000 names"},
		"big":      {".yaml", strings.Repeat("#", maxFile+1), "bytes, allowed are"},
		"unicode":  {".properties", `a=\u12`, "settings file"},
	} {
		t.Run(name, func(t *testing.T) {
			s, _, _ := newSet(t)
			_, err := s.Load(Sources{File: file(t, "f"+tc.ending, tc.text)})
			require.ErrorContains(t, err, tc.want)
		})
	}
	s, _, _ := newSet(t)
	_, err := s.Load(Sources{File: filepath.Join(t.TempDir(), "none.yaml")})
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = s.Load(Sources{File: t.TempDir() + "/x.yaml/.."})
	require.Error(t, err)
}

func TestBadValuesAreOneLineEach(t *testing.T) {
	s, a, _ := newSet(t)
	path := file(t, "x.yaml", "http.port: 70000\nwait: 2m\nquiet: maybe\ngain: much\nmode: avi\ncodecs: [opus, mp3]\nidle: [1, 2]\n")
	_, err := s.Load(Sources{File: path, Env: []string{"LINEOUT_MAX_CALLS=x"}, Flags: []string{"second.bad=true", "secret", "=1"}})
	require.Error(t, err)
	require.ElementsMatch(t, []string{
		`a flag has to be name=value, such as http.port=8081; one of 6 bytes is not`,
		`a flag has to be name=value, such as http.port=8081; one of 2 bytes is not`,
		`setting "http.port": value "70000" (file ` + path + `:1) is refused: it is out of range; allowed is a whole number from 0 to 65535`,
		`setting "wait": value "2m" (file ` + path + `:2) is refused: it is out of range; allowed is a duration such as "200ms" or "5s", or a bare number of milliseconds from 1ms to 1m`,
		`setting "quiet": value "maybe" (file ` + path + `:3) is refused: it is neither true nor false; allowed is true or false`,
		`setting "gain": value "much" (file ` + path + `:4) is refused: it is not a number; allowed is a number`,
		`setting "mode": value "avi" (file ` + path + `:5) is refused: it is not one of the choices; allowed is fmp4, ll`,
		`setting "codecs": value "opus,mp3" (file ` + path + `:6) is refused: it is not one of the choices; allowed is opus, alaw, ulaw`,
		`setting "idle": value "1,2" (file ` + path + `:7) is refused: one value is wanted, a list of 2 was given; allowed is a duration such as "200ms" or "5s", or a bare number of seconds`,
		`setting "max_calls": value "x" (env LINEOUT_MAX_CALLS) is refused: it is not a whole number; allowed is a whole number of at least 1`,
		`second.bad is set`,
	}, strings.Split(err.Error(), "\n"))
	require.Equal(t, 8081, a.Port, "a refused value does not take effect")

	_, err = s.Load(Sources{File: path, Flags: []string{"http.port=1", "wait=1", "quiet=on", "gain=1", "mode=ll", "codecs=opus", "idle=1"}})
	require.NoError(t, err, "a stronger source cures a bad value")
}

func TestSecretsAreMaskedInFaults(t *testing.T) {
	type keys struct {
		Pin int `setting:"pin" default:"1" secret:"true"`
	}
	s, err := New(&keys{})
	require.NoError(t, err)
	_, err = s.Load(Sources{Flags: []string{"pin=hunter2"}})
	require.ErrorContains(t, err, `value "***" (flag)`)
	require.NotContains(t, err.Error(), "hunter2")
}

func TestSecretWordsAreMasked(t *testing.T) {
	type peers struct {
		Trunks []string `setting:"trunks" secret:"password"`
	}
	s, err := New(&peers{})
	require.NoError(t, err)
	path := file(t, "x.yaml", "trunks:\n- name=a password=hunter2 from=b\n- password=\"hunter 3\" name=c\n- name=d password=\"hunter4\n- xpassword=e\n")
	_, err = s.Load(Sources{File: path})
	require.NoError(t, err)
	require.Equal(t, `name=a password=*** from=b,password=*** name=c,name=d password=***,xpassword=e`, s.Effective()[0].Value)
}

func TestUnknownNames(t *testing.T) {
	s, _, _ := newSet(t)
	warn, err := s.Load(Sources{Flags: []string{"http_port=1", "completely.else=2", "rtp_session_init_always=true", "MODE=x"},
		Env: []string{"LINEOUT_REST_USER=a:b"}})
	require.NoError(t, err)
	all := strings.Join(warn, "\n")
	require.Contains(t, all, `"http_port" (flag) is not known and ignored; did you mean "http.port"?`)
	require.Contains(t, all, `"completely.else" (flag) is not known and ignored`)
	require.Contains(t, all, `"rtp_session_init_always" (flag) is not needed here and ignored: receivers are always`)
	require.Contains(t, all, `did you mean "mode"?`)
	require.Contains(t, all, `"rest_user" (env LINEOUT_REST_USER) is not known and ignored; did you mean "rest_users"?`)
	require.NotContains(t, all, "a:b", "a value under a mistyped name may be a secret")
}

func TestMistakesInTheTables(t *testing.T) {
	type unit struct {
		D time.Duration `setting:"d" unit:"h" default:"1"`
	}
	type other struct {
		IP int `setting:"ip" default:"1"`
	}
	type noDefault struct {
		N int `setting:"n"`
	}
	type wrongType struct {
		C complex128 `setting:"c"`
	}
	type hidden struct {
		c string `setting:"c"`
	}
	type badMin struct {
		N int `setting:"n" default:"1" min:"x"`
	}
	type outside struct {
		N int `setting:"n" default:"1" min:"2"`
	}
	for want, sections := range map[string][]any{
		"neither ms nor s":                 {&unit{}},
		"declared twice":                   {&first{}, &other{}},
		"not a whole number":               {&noDefault{}},
		"cannot hold a setting":            {&wrongType{}},
		"must be exported":                 {&hidden{c: "x"}},
		"min:":                             {&badMin{}},
		"out of range":                     {&outside{}},
		"is not a pointer to a struct":     {first{}},
		"nil is not a pointer to a struct": {(*first)(nil), nil},
	} {
		_, err := New(sections...)
		require.ErrorContains(t, err, strings.TrimPrefix(want, "nil "), want)
	}
}

func TestReferenceFileIsTheDefaults(t *testing.T) {
	s, a, _ := newSet(t)
	_, want, _ := newSet(t)
	warn, err := s.Load(Sources{File: file(t, "reference.yaml", s.Reference())})
	require.NoError(t, err)
	require.Empty(t, warn)
	require.Equal(t, want.Codecs, a.Codecs)
	for _, v := range s.Effective() {
		require.Equal(t, v.Default, v.Value, v.Name)
	}
	md := s.Markdown()
	for _, n := range s.Names() {
		require.Contains(t, md, "`"+n+"`")
	}
}

func TestDistance(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"abc", "abc", 0}, {"ab", "ba", 1}, {"kitten", "sitting", 3}, {"htpp", "http", 1}} {
		require.Equal(t, tc.want, distance(tc.a, tc.b), tc)
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.StringMatching(`[a-c]{0,8}`).Draw(t, "a"), rapid.StringMatching(`[a-c]{0,8}`).Draw(t, "b")
		d := distance(a, b)
		if d != distance(b, a) || (d == 0) != (a == b) || d > max(len(a), len(b)) {
			t.Fatalf("distance(%q, %q) = %d", a, b, d)
		}
	})
}

// Any duration printed by Effective reads back as itself.
func TestDurationsReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := time.Duration(rapid.Int64Range(0, int64(1000*time.Hour)).Draw(t, "d"))
		got, err := parseDuration(formatDuration(d), time.Millisecond)
		if err != nil || got != d {
			t.Fatalf("%v -> %q -> %v, %v", d, formatDuration(d), got, err)
		}
	})
}

func FuzzYAML(f *testing.F) {
	for _, s := range []string{"a: 1\n", "http:\n  port: 8081\n", "a: &x {b: *x}\n", "<<: {a: 1}\n", "? [a]\n: b\n", "a: [1, {b: 2}]", "--- !!binary x\n", "a: !!int x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		entries, _, err := parseYAML([]byte(text), "f.yaml")
		if err == nil && len(entries) > maxYAMLEntries {
			t.Fatalf("%d entries", len(entries))
		}
	})
}

func FuzzProperties(f *testing.F) {
	for _, s := range []string{"a=1\n", "a b\n", "a\\=b = c\\\n d", "\\u0041=1", "a=${a}", "!x\n#y\n", "a:\\"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		entries, _, err := parseProperties([]byte(text), "f.properties")
		if err != nil {
			return
		}
		for _, e := range entries {
			if !strings.HasPrefix(e.origin, "file f.properties") {
				t.Fatalf("origin %q", e.origin)
			}
		}
	})
}
