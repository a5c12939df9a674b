// Package configs fills the settings structs of all other packages. A setting
// is a struct field with tags; the structs together are the one table from
// which loading, `lineout config`, the reference file and the documentation
// are made, so that none of them can disagree with the code.
//
// The tags of a field are
//
//	setting:"hls_list_size"  the name, required
//	default:"8"              the default, in the form a file would give it
//	doc:"..."                one plain sentence
//	unit:"ms"                ms or s: what a bare number of a time.Duration means (ms when absent)
//	min:"1" max:"65535"      inclusive bounds of a number or a duration
//	choices:"a,b"            the only values a string (or each list element) may have
//	secret:"true"            the value is never shown
//	secret:"password"        nor what follows password= in it, up to a blank or the closing quote
//
// Fields are string, bool, int, float64, time.Duration or []string (a comma
// list). A struct may have Validate() error; it is called after loading.
package configs

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"sort"
	"strings"
)

// Set is a table of settings bound to the structs that receive the values. It
// is used by one goroutine.
type Set struct {
	sections []section
	settings []*setting
	byName   map[string]*setting
}

type section struct {
	ptr   any
	title string
}

// setting is one name with the field (or fields) it fills.
type setting struct {
	name, def, doc string
	section        string
	kind           kind
	rule           rule
	secret         secret
	fields         []reflect.Value
	origin         string
	value          value
}

// Sources are the places values come from, strongest first: Flags, Env, File,
// the default.
type Sources struct {
	// File is the path of a .yaml, .yml or .properties file, "" for none.
	File string
	// Env is in the form of os.Environ; only LINEOUT_ names are looked at.
	Env []string
	// Flags are "name=value" pairs in the order given; the last one wins.
	Flags []string
}

// Value is one effective setting, safe to print: secrets are masked.
type Value struct {
	Name, Value, Default string
	// Origin is "default", "flag", "env LINEOUT_X" or "file x.yaml:12".
	Origin string
	Doc    string
	// Section is the package the setting belongs to.
	Section string
}

// New binds a set to pointers to tagged structs and fills in the defaults. The
// same name may occur in several structs if kind and default agree: each of
// them receives the value. Its errors are mistakes in the code, not in a file.
func New(sections ...any) (*Set, error) {
	s := &Set{byName: map[string]*setting{}}
	var errs []error
	for _, ptr := range sections {
		v := reflect.ValueOf(ptr)
		if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
			errs = append(errs, fmt.Errorf("settings section %T is not a pointer to a struct", ptr))
			continue
		}
		title := sectionTitle(v.Elem().Type())
		s.sections = append(s.sections, section{ptr: ptr, title: title})
		errs = append(errs, s.add(title, v.Elem()))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return s, s.reset()
}

// sectionTitle names a section after the package its struct is declared in.
func sectionTitle(t reflect.Type) string {
	p := t.PkgPath()
	if i := strings.IndexByte(p, '/'); i >= 0 {
		p = p[i+1:]
	}
	return p
}

// add registers the tagged fields of a struct, embedded structs included.
func (s *Set) add(title string, v reflect.Value) error {
	var errs []error
	for i := range v.NumField() {
		f := v.Type().Field(i)
		name := f.Tag.Get("setting")
		if name == "" {
			if f.Anonymous && f.Type.Kind() == reflect.Struct {
				errs = append(errs, s.add(title, v.Field(i)))
			}
			continue
		}
		n, err := newSetting(name, title, f, v.Field(i))
		if err == nil {
			err = s.merge(n)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("field %s.%s: %w", v.Type(), f.Name, err))
		}
	}
	return errors.Join(errs...)
}

func (s *Set) merge(n *setting) error {
	old := s.byName[n.name]
	if old == nil {
		s.settings, s.byName[n.name] = append(s.settings, n), n
		return nil
	}
	if old.kind != n.kind || old.def != n.def || old.rule.unit != n.rule.unit {
		return fmt.Errorf("setting %q is declared twice with different types or defaults (%s %q in %s, %s %q here)",
			n.name, old.kind, old.def, old.section, n.kind, n.def)
	}
	old.fields = append(old.fields, n.fields...)
	if old.secret == "" {
		old.secret = n.secret
	}
	return nil
}

// reset gives every field its default.
func (s *Set) reset() error {
	var errs []error
	for _, st := range s.settings {
		v, err := st.parse(raw{text: st.def})
		if err != nil {
			errs = append(errs, fmt.Errorf("default of setting %q: %w", st.name, err))
			continue
		}
		st.set(v, "default")
	}
	return errors.Join(errs...)
}

// Load fills the structs from the sources. Warnings are about names: unknown
// ones and those that need no setting here. A bad value never takes effect;
// the error joins one line for each of them and what the structs' own
// Validate methods say.
func (s *Set) Load(src Sources) (warnings []string, err error) {
	if err := s.reset(); err != nil {
		return nil, err
	}
	var given []entry
	if src.File != "" {
		entries, warn, err := readFile(src.File)
		if err != nil {
			return nil, err
		}
		given, warnings = entries, warn
	}
	given = append(given, s.envEntries(src.Env)...)
	flags, errs := flagEntries(src.Flags)
	given = append(given, flags...)

	// Later entries are stronger; only the strongest of a name is judged, so
	// that a flag can also cure a bad line of the file.
	last := map[string]int{}
	for i, e := range given {
		last[e.name] = i
	}
	for i, e := range given {
		if last[e.name] != i {
			continue
		}
		st := s.byName[e.name]
		if st == nil {
			warnings = append(warnings, s.unknown(e))
			continue
		}
		v, err := st.parse(e.raw)
		if err != nil {
			errs = append(errs, st.fault(e, err))
			continue
		}
		st.set(v, e.origin)
	}
	return warnings, errors.Join(append(errs, s.validate()...)...)
}

// validate asks each section that has an opinion.
func (s *Set) validate() []error {
	var errs []error
	for _, sec := range s.sections {
		if v, ok := sec.ptr.(interface{ Validate() error }); ok {
			if err := v.Validate(); err != nil {
				errs = append(errs, err)
			}
		}
	}
	return errs
}

// fault is the one line an operator reads about a bad value.
func (st *setting) fault(e entry, err error) error {
	shown := st.secret.mask(e.raw.String())
	return fmt.Errorf("setting %q: value %q (%s) is refused: %w", st.name, shown, e.origin, err)
}

// set gives a parsed value to every field of the name.
func (st *setting) set(v value, origin string) {
	st.value, st.origin = v, origin
	for _, f := range st.fields {
		v.store(f)
	}
}

// Effective lists all settings in table order with the value in force.
func (s *Set) Effective() []Value {
	out := make([]Value, 0, len(s.settings))
	for _, st := range s.settings {
		v := Value{Name: st.name, Value: st.value.text, Default: st.defaultText(), Origin: st.origin, Doc: st.doc, Section: st.section}
		v.Value, v.Default = st.secret.maskValue(st.value), st.secret.mask(v.Default)
		out = append(out, v)
	}
	return out
}

// Names lists the names of all settings in alphabetical order.
func (s *Set) Names() []string {
	names := make([]string, 0, len(s.settings))
	for _, st := range s.settings {
		names = append(names, st.name)
	}
	sort.Strings(names)
	return names
}

// secret says what of a setting is never shown: "" for nothing, "true" for the
// whole value, else the word of its entries whose values it is.
type secret string

// mask hides a secret but not whether there is one.
func (s secret) mask(v string) string {
	switch {
	case s == "" || v == "":
		return v
	case s == "true":
		return "***"
	}
	return regexp.MustCompile(`((?:^|[\s,])`+regexp.QuoteMeta(string(s))+`=)("[^"]*"?|[^\s]+)`).ReplaceAllString(v, "$1***")
}

// maskValue masks the entries of a list one by one, as they hold several words.
func (s secret) maskValue(v value) string {
	items, ok := v.any.([]string)
	if !ok || s == "true" {
		return s.mask(v.text)
	}
	shown := make([]string, len(items))
	for i, it := range items {
		shown[i] = s.mask(it)
	}
	return strings.Join(shown, ",")
}
