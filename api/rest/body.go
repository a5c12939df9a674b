package rest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"unicode/utf8"

	"lineout/api/fault"
)

// body is a request's JSON object, already known to be well formed.
type body struct {
	raw  []byte
	keys map[string]json.RawMessage
}

// readBody reads at most limit bytes. No body, blanks and null count as {}.
// The content type is not looked at: curl sends a form's by default.
func readBody(w http.ResponseWriter, r *http.Request, limit int64) (*body, error) {
	if r.Body == nil {
		return parseBody(nil)
	}
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, fault.New(fault.TooLarge, "the body is larger than %d bytes (setting rest_max_body)", tooLarge.Limit)
	case err != nil:
		return nil, fault.New(fault.BadRequest, "the body could not be read: %w", err)
	}
	return parseBody(raw)
}

func parseBody(raw []byte) (*body, error) {
	raw = bytes.TrimSpace(bytes.TrimPrefix(raw, []byte("\xef\xbb\xbf")))
	if len(raw) == 0 || bytes.Equal(raw, []byte("null")) {
		raw = []byte("{}")
	}
	if !utf8.Valid(raw) {
		return nil, fault.New(fault.BadRequest, "the body is not UTF-8, which JSON has to be")
	}
	b := &body{raw: raw}
	err := json.Unmarshal(raw, &b.keys)
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &syntax):
		return nil, fault.New(fault.BadRequest, "the body is not JSON: %v at byte %d", syntax, syntax.Offset)
	case err != nil:
		return nil, fault.New(fault.BadRequest, "the body has to be a JSON object {...}")
	}
	return b, nil
}

// decode fills a struct. Keys it does not have are ignored; a value of the
// wrong type is a fault that names its key.
func (b *body) decode(into any) error {
	err := json.Unmarshal(b.raw, into)
	if err == nil {
		return nil
	}
	key, cause := b.blame(into)
	if key == "" {
		return fault.New(fault.BadRequest, "the body does not fit: %w", err)
	}
	return fault.New(fault.BadRequest, "key %q: %s", key, explain(cause))
}

// blame finds the key that does not fit by decoding each one alone, because
// an UnmarshalJSON method's error does not tell where it happened.
func (b *body) blame(into any) (string, error) {
	t := reflect.TypeOf(into)
	if t == nil || t.Kind() != reflect.Pointer {
		return "", nil
	}
	bad := ""
	var cause error
	for key, raw := range b.keys {
		one, err := json.Marshal(map[string]json.RawMessage{key: raw})
		if err != nil {
			continue
		}
		if err := json.Unmarshal(one, reflect.New(t.Elem()).Interface()); err != nil && (bad == "" || key < bad) {
			bad, cause = key, err // the first by name, so that the answer does not depend on map order
		}
	}
	return bad, cause
}

// explain words a decoding error for someone who does not know Go's types.
func explain(err error) string {
	var wrong *json.UnmarshalTypeError
	if !errors.As(err, &wrong) {
		return err.Error()
	}
	where := ""
	if _, below, nested := strings.Cut(wrong.Field, "."); nested {
		where = fmt.Sprintf("%q in it: ", below)
	}
	return fmt.Sprintf("%swant %s, got %s", where, typeWord(wrong.Type), wrong.Value)
}

func typeWord(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Map, reflect.Struct:
		return "an object"
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	}
	return "a number"
}
