package words

import (
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestParse(t *testing.T) {
	got, err := Parse(" name=office\tfrom=192.0.2.0/24  text=\"a b=c\" ", "name", "from", "text")
	want := []Word{{"name", "office", 1}, {"from", "192.0.2.0/24", 2}, {"text", "a b=c", 3}}
	if err != nil || len(got) != 3 || got[0] != want[0] || got[1] != want[1] || got[2] != want[2] {
		t.Errorf("%v, %v", got, err)
	}
	for entry, fault := range map[string]string{
		"":                                 "empty",
		"name":                             `word 1, which begins with "name", is not key=value`,
		"name=a nmae=b":                    `word 2: the key "nmae" is not known; known are name, from`,
		"name=a name=b":                    `word 2: the key "name" stands twice`,
		"name=":                            "word 1 (name): the value is missing",
		`name="a`:                          "word 1 (name): the closing quote is missing",
		`name="a"b`:                        "a blank is missing after the closing quote",
		`=a`:                               "is not key=value",
		"name=" + strings.Repeat("x", 5e3): "allowed are 4096",
	} {
		if _, err := Parse(entry, "name", "from"); err == nil || !strings.Contains(err.Error(), fault) {
			t.Errorf("%q: %v, want %q", entry, err, fault)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"name=a", `name="a b" from=c`, "name=\"", "= =", "name=a\tfrom=b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, entry string) {
		got, err := Parse(entry, "name", "from")
		if err == nil && (len(got) == 0 || len(got) > 2) {
			t.Fatalf("%v of %q", got, entry)
		}
		for i, w := range got {
			if w.Position != i+1 || w.Value == "" {
				t.Fatalf("%+v of %q", w, entry)
			}
		}
	})
}
