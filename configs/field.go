package configs

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// kind is the type of a setting as the documentation calls it.
type kind string

const (
	kindString   kind = "text"
	kindBool     kind = "true or false"
	kindInt      kind = "whole number"
	kindFloat    kind = "number"
	kindDuration kind = "duration"
	kindList     kind = "list"
)

// rule bounds the values of a setting.
type rule struct {
	unit     time.Duration
	min, max *float64 // for durations in nanoseconds
	choices  []string
}

// raw is a value as a source wrote it.
type raw struct {
	text string
	// items is set when the source had a real list.
	items  []string
	isList bool
}

func (r raw) String() string {
	if r.isList {
		return strings.Join(r.items, ",")
	}
	return r.text
}

// value is a parsed value with its canonical text.
type value struct {
	text string
	any  any
}

func (v value) store(f reflect.Value) {
	switch x := v.any.(type) {
	case string:
		f.SetString(x)
	case bool:
		f.SetBool(x)
	case int64:
		f.SetInt(x)
	case float64:
		f.SetFloat(x)
	case time.Duration:
		f.SetInt(int64(x))
	case []string:
		// Each field has its own copy: two packages may hold the same list.
		f.Set(reflect.ValueOf(append([]string(nil), x...)).Convert(f.Type()))
	}
}

var durationType = reflect.TypeFor[time.Duration]()

func kindOf(t reflect.Type) (kind, error) {
	if t == durationType {
		return kindDuration, nil
	}
	switch t.Kind() {
	case reflect.String:
		return kindString, nil
	case reflect.Bool:
		return kindBool, nil
	case reflect.Int, reflect.Int64:
		return kindInt, nil
	case reflect.Float64:
		return kindFloat, nil
	case reflect.Slice:
		if t.Elem().Kind() == reflect.String {
			return kindList, nil
		}
	}
	return "", fmt.Errorf("type %s cannot hold a setting", t)
}

// newSetting reads the tags of a field.
func newSetting(name, title string, f reflect.StructField, v reflect.Value) (*setting, error) {
	if !f.IsExported() {
		return nil, errors.New("a field with a setting tag must be exported")
	}
	k, err := kindOf(f.Type)
	if err != nil {
		return nil, err
	}
	st := &setting{name: name, section: title, def: f.Tag.Get("default"), doc: f.Tag.Get("doc"),
		kind: k, secret: secret(f.Tag.Get("secret")), fields: []reflect.Value{v}}
	st.rule.unit = time.Millisecond
	switch u := f.Tag.Get("unit"); u {
	case "", "ms":
	case "s":
		st.rule.unit = time.Second
	default:
		if k == kindDuration {
			return nil, fmt.Errorf("unit %q is neither ms nor s", u)
		}
	}
	if c := f.Tag.Get("choices"); c != "" {
		st.rule.choices = splitList(c)
	}
	if st.rule.min, err = st.bound(f.Tag.Get("min")); err != nil {
		return nil, fmt.Errorf("min: %w", err)
	}
	if st.rule.max, err = st.bound(f.Tag.Get("max")); err != nil {
		return nil, fmt.Errorf("max: %w", err)
	}
	return st, nil
}

func (st *setting) bound(text string) (*float64, error) {
	if text == "" {
		return nil, nil
	}
	if st.kind == kindDuration {
		d, err := parseDuration(text, st.rule.unit)
		f := float64(d)
		return &f, err
	}
	f, err := strconv.ParseFloat(text, 64)
	return &f, err
}

// parse judges a value; its error says what is allowed.
func (st *setting) parse(r raw) (value, error) {
	if st.kind == kindList {
		return st.parseList(r)
	}
	if r.isList {
		if len(r.items) != 1 {
			return value{}, fmt.Errorf("one value is wanted, a list of %d was given; %s", len(r.items), st.allowed())
		}
		r.text = r.items[0]
	}
	text := r.text
	if st.kind != kindString {
		text = strings.TrimSpace(text)
	}
	v, n, err := st.parseScalar(text)
	if err != nil {
		return value{}, fmt.Errorf("%w; %s", err, st.allowed())
	}
	if (st.rule.min != nil && n < *st.rule.min) || (st.rule.max != nil && n > *st.rule.max) {
		return value{}, fmt.Errorf("it is out of range; %s", st.allowed())
	}
	return v, nil
}

// parseScalar returns the value and, for numbers, what bounds apply to.
func (st *setting) parseScalar(text string) (value, float64, error) {
	switch st.kind {
	case kindBool:
		b, err := parseBool(text)
		return value{strconv.FormatBool(b), b}, 0, err
	case kindInt:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n != int64(int(n)) {
			return value{}, 0, errors.New("it is not a whole number")
		}
		return value{strconv.FormatInt(n, 10), n}, float64(n), nil
	case kindFloat:
		f, err := strconv.ParseFloat(text, 64)
		if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
			return value{}, 0, errors.New("it is not a number")
		}
		return value{strconv.FormatFloat(f, 'g', -1, 64), f}, f, nil
	case kindDuration:
		d, err := parseDuration(text, st.rule.unit)
		return value{formatDuration(d), d}, float64(d), err
	}
	text, err := st.choice(text)
	return value{text, text}, 0, err
}

func (st *setting) parseList(r raw) (value, error) {
	items := r.items
	if !r.isList {
		items = splitList(r.text)
	}
	for i, it := range items {
		c, err := st.choice(it)
		if err != nil {
			return value{}, fmt.Errorf("%w; %s", err, st.allowed())
		}
		items[i] = c
	}
	return value{strings.Join(items, ","), items}, nil
}

// choice returns the choice a text means, in the choice's own spelling.
func (st *setting) choice(text string) (string, error) {
	if len(st.rule.choices) == 0 {
		return text, nil
	}
	for _, c := range st.rule.choices {
		if strings.EqualFold(c, strings.TrimSpace(text)) {
			return c, nil
		}
	}
	return "", errors.New("it is not one of the choices")
}

// allowed says what a setting takes, for faults and documentation.
func (st *setting) allowed() string {
	var what string
	switch st.kind {
	case kindBool:
		return "allowed is true or false"
	case kindInt:
		what = "allowed is a whole number"
	case kindFloat:
		what = "allowed is a number"
	case kindDuration:
		unit := "milliseconds"
		if st.rule.unit == time.Second {
			unit = "seconds"
		}
		what = `allowed is a duration such as "200ms" or "5s", or a bare number of ` + unit
	case kindList:
		what = "allowed is a comma list"
	default:
		what = "allowed is text"
	}
	if len(st.rule.choices) > 0 {
		what = "allowed is " + strings.Join(st.rule.choices, ", ")
	}
	return what + st.bounds()
}

// bounds is " from 1 to 9", or less, or nothing.
func (st *setting) bounds() string {
	show := func(f float64) string {
		if st.kind == kindDuration {
			return formatDuration(time.Duration(f))
		}
		return strconv.FormatFloat(f, 'f', -1, 64)
	}
	switch lo, hi := st.rule.min, st.rule.max; {
	case lo != nil && hi != nil:
		return " from " + show(*lo) + " to " + show(*hi)
	case lo != nil:
		return " of at least " + show(*lo)
	case hi != nil:
		return " of at most " + show(*hi)
	}
	return ""
}

// defaultText is the default in canonical form.
func (st *setting) defaultText() string {
	v, err := st.parse(raw{text: st.def})
	if err != nil {
		return st.def
	}
	return v.text
}

func parseBool(text string) (bool, error) {
	switch strings.ToLower(text) {
	case "true", "1", "on", "yes":
		return true, nil
	case "false", "0", "off", "no":
		return false, nil
	}
	return false, errors.New("it is neither true nor false")
}

// parseDuration reads "1m30s", or a bare number in unit.
func parseDuration(text string, unit time.Duration) (time.Duration, error) {
	if f, err := strconv.ParseFloat(text, 64); err == nil {
		d := f * float64(unit)
		if math.IsNaN(d) || math.Abs(d) > math.MaxInt64/2 {
			return 0, errors.New("it is not a duration")
		}
		return time.Duration(d), nil
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, errors.New("it is not a duration")
	}
	return d, nil
}

// formatDuration is Duration.String without the zero tail: "5m", not "5m0s".
func formatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// splitList splits a comma list; blanks around elements and empty elements go.
func splitList(text string) []string {
	var out []string
	for _, p := range strings.Split(text, ",") {
		if p = strings.TrimSpace(p); p != "" {
			out = append(out, p)
		}
	}
	return out
}
