// Package words reads one entry of a list of settings that holds several
// things: words key=value with blanks between, values with blanks in double
// quotes. Faults name the word's position.
package words

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Word is one key=value. Position counts from 1.
type Word struct {
	Key, Value string
	Position   int
}

// maxEntry bounds an entry; the longest useful ones have a few hundred bytes.
const maxEntry = 4096

// Parse splits an entry. Keys are as written; each may stand once, and only
// those of known may stand. Values are not empty.
func Parse(entry string, known ...string) ([]Word, error) {
	if len(entry) > maxEntry {
		return nil, fmt.Errorf("the entry has %d bytes, allowed are %d", len(entry), maxEntry)
	}
	var out []Word
	for rest := strings.TrimSpace(entry); rest != ""; rest = strings.TrimLeft(rest, " \t") {
		n := len(out) + 1
		key, after, ok := strings.Cut(rest, "=")
		if !ok || strings.ContainsAny(key, " \t\"") || key == "" {
			first, _, _ := strings.Cut(rest, " ")
			return nil, fmt.Errorf("word %d, which begins with %q, is not key=value", n, shorten(strings.TrimRight(first, "=")))
		}
		var value string
		if quoted, is := strings.CutPrefix(after, `"`); is {
			if value, rest, ok = strings.Cut(quoted, `"`); !ok {
				return nil, fmt.Errorf("word %d (%s): the closing quote is missing", n, key)
			}
			if rest != "" && !strings.HasPrefix(rest, " ") && !strings.HasPrefix(rest, "\t") {
				return nil, fmt.Errorf("word %d (%s): a blank is missing after the closing quote", n, key)
			}
		} else if i := strings.IndexAny(after, " \t"); i >= 0 {
			value, rest = after[:i], after[i:]
		} else {
			value, rest = after, ""
		}
		switch {
		case !slices.Contains(known, key):
			return nil, fmt.Errorf("word %d: the key %q is not known; known are %s", n, shorten(key), strings.Join(known, ", "))
		case slices.ContainsFunc(out, func(w Word) bool { return w.Key == key }):
			return nil, fmt.Errorf("word %d: the key %q stands twice", n, key)
		case value == "":
			return nil, fmt.Errorf("word %d (%s): the value is missing", n, key)
		}
		out = append(out, Word{key, value, n})
	}
	if len(out) == 0 {
		return nil, errors.New("the entry is empty")
	}
	return out, nil
}

// Fault says what is wrong with a word's value, without the value: it may be a secret.
func (w Word) Fault(format string, args ...any) error {
	return fmt.Errorf("word %d (%s): %w", w.Position, w.Key, fmt.Errorf(format, args...))
}

func shorten(s string) string { return s[:min(len(s), 20)] }
