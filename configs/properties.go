package configs

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/magiconair/properties"
)

// parseProperties reads the Java form ("ip =192.0.2.1"). ${name} is kept as it
// stands: the original does not expand either, and passwords may hold it.
func parseProperties(data []byte, path string) ([]entry, []string, error) {
	l := properties.Loader{Encoding: properties.UTF8, DisableExpansion: true}
	p, err := l.LoadBytes(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")))
	if err != nil {
		return nil, nil, fmt.Errorf("settings file %q: %w", path, err)
	}
	lines, warnings := propertyLines(data, path)
	var out []entry
	for _, k := range p.Keys() {
		v, _ := p.Get(k)
		// Trailing blanks are part of a Java value, and never what was meant.
		e := entry{name: k, raw: raw{text: strings.TrimSpace(v)}, origin: "file " + path}
		if n := lines[k]; n > 0 {
			e.origin = fileOrigin(path, n)
		}
		out = append(out, e)
	}
	return out, warnings, nil
}

// propertyLines finds the line each name stands on, which the parser does not
// tell. Names with escapes are left out; they are told without a line.
func propertyLines(data []byte, path string) (lines map[string]int, warnings []string) {
	lines = map[string]int{}
	continued := false
	for i, line := range strings.Split(string(data), "\n") {
		line = strings.TrimSuffix(line, "\r")
		start := !continued
		text := strings.TrimLeft(line, " \t\f\ufeff")
		comment := start && (text == "" || text[0] == '#' || text[0] == '!')
		backslashes := len(line) - len(strings.TrimRight(line, `\`))
		continued = !comment && backslashes%2 == 1
		if !start || comment {
			continue
		}
		name := text
		if j := strings.IndexAny(text, "=: \t\f"); j >= 0 {
			name = text[:j]
		}
		if before := lines[name]; before > 0 {
			warnings = append(warnings, fmt.Sprintf("setting %q stands twice in %s: line %d overrides line %d", name, path, i+1, before))
		}
		lines[name] = i + 1
	}
	return lines, warnings
}
