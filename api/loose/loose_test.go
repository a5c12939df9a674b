package loose

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestBool(t *testing.T) {
	for in, want := range map[string]Bool{
		`true`: {true, true}, `"true"`: {true, true}, `"TRUE"`: {true, true}, `1`: {true, true}, `"1"`: {true, true}, `"on"`: {true, true}, `" yes "`: {true, true},
		`false`: {false, true}, `"false"`: {false, true}, `0`: {false, true}, `"off"`: {false, true}, `"No"`: {false, true},
		`null`: {}, `""`: {}, `" "`: {},
	} {
		var b Bool
		require.NoError(t, json.Unmarshal([]byte(in), &b), in)
		require.Equal(t, want, b, in)
	}
	for _, in := range []string{`"maybe"`, `2`, `[]`, `{}`, `"tru"`} {
		var b Bool
		require.Error(t, json.Unmarshal([]byte(in), &b), in)
		require.False(t, b.Set, in)
	}
	require.True(t, Bool{}.Or(true))
	require.False(t, Bool{Set: true}.Or(true))
}

func TestInt(t *testing.T) {
	for in, want := range map[string]Int{
		`5060`: {5060, true}, `"5060"`: {5060, true}, `" 7 "`: {7, true}, `-1`: {-1, true}, `5.0`: {5, true}, `1e3`: {1000, true}, `null`: {}, `""`: {},
		`9007199254740993`: {9007199254740993, true},
	} {
		var i Int
		require.NoError(t, json.Unmarshal([]byte(in), &i), in)
		require.Equal(t, want, i, in)
	}
	for _, in := range []string{`1.5`, `"x"`, `true`, `[1]`, `{}`, `1e300`, `"NaN"`, `"Inf"`, `9223372036854775808`, `"0x10"`} {
		var i Int
		require.Error(t, json.Unmarshal([]byte(in), &i), in)
	}
	require.Equal(t, int64(5060), Int{}.Or(5060))
	require.Equal(t, int64(0), Int{Set: true}.Or(5060))
}

func TestString(t *testing.T) {
	for in, want := range map[string]String{`"a b"`: "a b", `" x "`: " x ", `1000`: "1000", `true`: "true", `null`: "", `""`: "", `"\u00fc"`: "ü"} {
		var s String
		require.NoError(t, json.Unmarshal([]byte(in), &s), in)
		require.Equal(t, want, s, in)
	}
	for _, in := range []string{`[]`, `{"a":1}`} {
		var s String
		require.Error(t, json.Unmarshal([]byte(in), &s), in)
	}
}

// A value means the same whether a page sends it typed or as a string.
func TestStringsAndTypesMeanTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64().Draw(t, "n")
		typed, err := json.Marshal(n)
		if err != nil {
			t.Fatal(err)
		}
		quoted, err := json.Marshal(string(typed))
		if err != nil {
			t.Fatal(err)
		}
		var a, b Int
		if json.Unmarshal(typed, &a) != nil || json.Unmarshal(quoted, &b) != nil || a != b || a.Value != n {
			t.Fatalf("%s gives %v, %s gives %v", typed, a, quoted, b)
		}
	})
}

func FuzzScalars(f *testing.F) {
	for _, s := range []string{`true`, `"1"`, `1e9`, `null`, `[[[`, `"\ud800"`, `-0`, ``} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		// Called by hand too: the decoder never hands over what is not JSON, others might.
		var b Bool
		var i Int
		var s String
		_ = b.UnmarshalJSON(raw)
		_ = s.UnmarshalJSON(raw)
		if i.UnmarshalJSON(raw) == nil && !i.Set && i.Value != 0 {
			t.Fatal("a value without Set")
		}
	})
}
