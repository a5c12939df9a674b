package configs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// maxFile bounds a settings file; the largest real ones have a few KiB.
const maxFile = 1 << 20

// entry is one value given by a source.
type entry struct {
	name   string
	raw    raw
	origin string
}

// readFile reads a settings file by its ending.
func readFile(path string) ([]entry, []string, error) {
	var parse func([]byte, string) ([]entry, []string, error)
	switch ext := strings.ToLower(filepath.Ext(path)); ext {
	case ".yaml", ".yml":
		parse = parseYAML
	case ".properties":
		parse = parseProperties
	default:
		return nil, nil, fmt.Errorf("settings file %q: ending %q is not known, use .yaml or .properties", path, ext)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, nil, fmt.Errorf("read settings file: %w", err)
	}
	if info.IsDir() {
		return nil, nil, fmt.Errorf("settings file %q is a folder", path)
	}
	if info.Size() > maxFile {
		return nil, nil, fmt.Errorf("settings file %q has %d bytes, allowed are %d", path, info.Size(), maxFile)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, fmt.Errorf("read settings file: %w", err)
	}
	return parse(data, path)
}

func fileOrigin(path string, line int) string {
	return fmt.Sprintf("file %s:%d", path, line)
}

const envPrefix = "LINEOUT_"

// envName is the environment variable of a setting: http.port is LINEOUT_HTTP_PORT.
func envName(setting string) string {
	return envPrefix + strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(setting))
}

// envEntries picks LINEOUT_ variables out of an environment. A variable that
// is set but empty counts as not set, as container files often write them so.
func (s *Set) envEntries(environ []string) []entry {
	names := make(map[string]string, len(s.settings))
	for _, st := range s.settings {
		names[envName(st.name)] = st.name
	}
	var out []entry
	for _, kv := range environ {
		k, v, ok := strings.Cut(kv, "=")
		if !ok || v == "" || !strings.HasPrefix(k, envPrefix) {
			continue
		}
		name := names[k]
		if name == "" {
			name = strings.ToLower(strings.TrimPrefix(k, envPrefix))
		}
		out = append(out, entry{name: name, raw: raw{text: v}, origin: "env " + k})
	}
	return out
}

// flagEntries splits "name=value" pairs.
func flagEntries(flags []string) ([]entry, []error) {
	var out []entry
	var errs []error
	for _, f := range flags {
		name, v, ok := strings.Cut(f, "=")
		if name = strings.TrimSpace(name); !ok || name == "" {
			// The text may be a password typed in the wrong place, so it is not repeated.
			errs = append(errs, fmt.Errorf("a flag has to be name=value, such as http.port=8081; one of %d bytes is not", len(f)))
			continue
		}
		out = append(out, entry{name: name, raw: raw{text: v}, origin: "flag"})
	}
	return out, errs
}
