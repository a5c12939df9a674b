package configs

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"go.yaml.in/yaml/v3"
)

// Bounds of a YAML file: aliases can make a small file huge.
const (
	maxYAMLDepth   = 16
	maxYAMLEntries = 10000
)

// yamlReader collects the leaves of a YAML document.
type yamlReader struct {
	path     string
	entries  []entry
	visited  int // nodes looked at, counted because aliases multiply them
	seen     map[string]int
	warnings []string
}

// parseYAML reads flat names ("http.port: 8081") and nested ones ("http:" with
// "port: 8081" below it), which mean the same. A name without a value keeps its default.
func parseYAML(data []byte, path string) ([]entry, []string, error) {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	if err := dec.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, nil, nil
		}
		return nil, nil, fmt.Errorf("settings file %q: %w", path, err)
	}
	var more yaml.Node
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, nil, fmt.Errorf("settings file %q: one YAML document is wanted, there is more after it", path)
	}
	r := &yamlReader{path: path, seen: map[string]int{}}
	if len(doc.Content) == 0 {
		return nil, nil, nil
	}
	root := resolve(doc.Content[0])
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return nil, nil, nil
	}
	if root.Kind != yaml.MappingNode {
		return nil, nil, fmt.Errorf("settings file %q, line %d: lines of \"name: value\" are wanted", path, root.Line)
	}
	if err := r.mapping("", root, 0); err != nil {
		return nil, nil, fmt.Errorf("settings file %q, %w", path, err)
	}
	return r.entries, r.warnings, nil
}

// resolve follows an alias to what it stands for.
func resolve(n *yaml.Node) *yaml.Node {
	for i := 0; n.Kind == yaml.AliasNode && n.Alias != nil && i < maxYAMLDepth; i++ {
		n = n.Alias
	}
	return n
}

func (r *yamlReader) mapping(prefix string, m *yaml.Node, depth int) error {
	if depth > maxYAMLDepth {
		return fmt.Errorf("line %d: nested deeper than %d levels", m.Line, maxYAMLDepth)
	}
	for i := 0; i+1 < len(m.Content); i += 2 {
		if r.visited++; r.visited > maxYAMLEntries {
			return fmt.Errorf("line %d: more than %d names", m.Line, maxYAMLEntries)
		}
		k, v := m.Content[i], resolve(m.Content[i+1])
		if k.Kind != yaml.ScalarNode {
			return fmt.Errorf("line %d: a name has to be plain text", k.Line)
		}
		if k.Tag == "!!merge" {
			if v.Kind != yaml.MappingNode {
				return fmt.Errorf("line %d: << wants a mapping", k.Line)
			}
			if err := r.mapping(prefix, v, depth+1); err != nil {
				return err
			}
			continue
		}
		if err := r.leaf(prefix+k.Value, k.Line, v, depth); err != nil {
			return err
		}
	}
	return nil
}

func (r *yamlReader) leaf(name string, line int, v *yaml.Node, depth int) error {
	switch v.Kind {
	case yaml.MappingNode:
		return r.mapping(name+".", v, depth+1)
	case yaml.SequenceNode:
		val := raw{isList: true, items: []string{}}
		if r.visited += len(v.Content); r.visited > maxYAMLEntries {
			return fmt.Errorf("line %d: more than %d elements", line, maxYAMLEntries)
		}
		for _, it := range v.Content {
			if it = resolve(it); it.Kind != yaml.ScalarNode {
				return fmt.Errorf("line %d: a list may hold plain values only", it.Line)
			}
			val.items = append(val.items, it.Value)
		}
		r.put(name, line, val)
		return nil
	case yaml.ScalarNode:
		if v.Tag != "!!null" {
			r.put(name, line, raw{text: v.Value})
		}
		return nil
	}
	return fmt.Errorf("line %d: %q has a value of no known kind", line, name)
}

func (r *yamlReader) put(name string, line int, v raw) {
	if before, ok := r.seen[name]; ok {
		r.warnings = append(r.warnings, fmt.Sprintf("setting %q stands twice in %s: line %d overrides line %d", name, r.path, line, before))
	}
	r.seen[name] = line
	r.entries = append(r.entries, entry{name: name, raw: v, origin: fileOrigin(r.path, line)})
}
