// Package loose decodes the JSON that web pages really send: booleans and
// numbers that arrive as strings, values that are null or missing (rest-api
// 1.2). Answers are always encoded with real types.
package loose

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// Bool accepts true, "true", "TRUE", 1, "1", "on" and "yes" and their opposites. Set
// is false when the value was missing, null or "".
type Bool struct {
	Value, Set bool
}

// Or returns the value, or def when it was not given.
func (b Bool) Or(def bool) bool {
	if b.Set {
		return b.Value
	}
	return def
}

// UnmarshalJSON implements json.Unmarshaler.
func (b *Bool) UnmarshalJSON(raw []byte) error {
	s, null, err := scalar(raw)
	if err != nil {
		return fmt.Errorf("want a boolean: %w", err)
	}
	if null {
		return nil
	}
	switch strings.ToLower(s) {
	case "true", "1", "on", "yes":
		b.Value, b.Set = true, true
	case "false", "0", "off", "no":
		b.Value, b.Set = false, true
	default:
		return fmt.Errorf("want true or false, got %q", s)
	}
	return nil
}

// Int accepts whole numbers and strings that hold one.
type Int struct {
	Value int64
	Set   bool
}

// Or returns the value, or def when it was not given.
func (i Int) Or(def int64) int64 {
	if i.Set {
		return i.Value
	}
	return def
}

// UnmarshalJSON implements json.Unmarshaler.
func (i *Int) UnmarshalJSON(raw []byte) error {
	s, null, err := scalar(raw)
	if err != nil {
		return fmt.Errorf("want a number: %w", err)
	}
	if null {
		return nil
	}
	v, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		f, ferr := strconv.ParseFloat(s, 64)
		if ferr != nil || !(f >= -1<<63 && f < 1<<63) || f != float64(int64(f)) {
			return fmt.Errorf("want a whole number, got %q", s)
		}
		v = int64(f)
	}
	i.Value, i.Set = v, true
	return nil
}

// String accepts strings, numbers and booleans; null is "".
type String string

// UnmarshalJSON implements json.Unmarshaler.
func (t *String) UnmarshalJSON(raw []byte) error {
	raw = bytes.TrimSpace(raw)
	if len(raw) > 0 && raw[0] == '"' {
		var s string
		if err := json.Unmarshal(raw, &s); err != nil {
			return err
		}
		*t = String(s)
		return nil
	}
	s, _, err := scalar(raw)
	if err != nil {
		return fmt.Errorf("want a string: %w", err)
	}
	*t = String(s)
	return nil
}

// scalar returns a JSON scalar as trimmed text; null and "" report null.
func scalar(raw []byte) (s string, null bool, err error) {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 || bytes.Equal(raw, []byte("null")) {
		return "", true, nil
	}
	switch raw[0] {
	case '{', '[':
		return "", false, fmt.Errorf("got an object or a list")
	case '"':
		if err := json.Unmarshal(raw, &s); err != nil {
			return "", false, err
		}
		s = strings.TrimSpace(s)
		return s, s == "", nil
	}
	return string(raw), false, nil
}
