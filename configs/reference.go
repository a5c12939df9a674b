package configs

import (
	_ "embed" // for the reference file
	"fmt"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"
)

// Reference is a commented settings file that holds every setting with its default.
func (s *Set) Reference() string {
	var b strings.Builder
	b.WriteString("# All settings of lineout with their defaults. Generated from the code.\n" +
		"# Each may also be given as --set name=value or as an environment variable\n" +
		"# (http.port is LINEOUT_HTTP_PORT). Order: flag, environment, file, default.\n")
	section := ""
	for _, st := range s.settings {
		if st.section != section {
			section = st.section
			fmt.Fprintf(&b, "\n# ---- %s ----\n", section)
		}
		b.WriteString("\n")
		for _, line := range wrap(st.sentence(), 90) {
			b.WriteString("# " + line + "\n")
		}
		if note := st.note(); note != "" {
			b.WriteString("# " + note + "\n")
		}
		fmt.Fprintf(&b, "%s: %s\n", st.name, st.yamlDefault())
	}
	return b.String()
}

// Markdown is the table of settings for the documentation.
func (s *Set) Markdown() string {
	var b strings.Builder
	b.WriteString("# Settings\n\nGenerated from the code. Order of sources: `--set name=value`, environment (`http.port` is `LINEOUT_HTTP_PORT`),\n" +
		"`--config FILE` (`.yaml`, or the `.properties` of Web Call Server), default. `lineout config` prints what is in force and where\n" +
		"it came from. Unknown names are warned about and ignored.\n")
	cell := strings.NewReplacer("|", `\|`, "\n", " ")
	section := ""
	for _, st := range s.settings {
		if st.section != section {
			section = st.section
			fmt.Fprintf(&b, "\n## %s\n\n| Name | Default | Allowed | Meaning |\n|---|---|---|---|\n", section)
		}
		def := st.defaultText()
		if def != "" {
			def = "`" + def + "`"
		}
		doc := st.sentence()
		switch st.secret {
		case "":
		case "true":
			doc += " (secret)"
		default:
			doc += " (" + string(st.secret) + "= is secret)"
		}
		allowed := strings.TrimPrefix(st.allowed(), "allowed is ")
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", st.name, cell.Replace(def), cell.Replace(allowed), cell.Replace(doc))
	}
	return b.String()
}

// sentence is the doc text with a capital letter and a full stop.
func (st *setting) sentence() string {
	r := []rune(strings.TrimSpace(st.doc))
	if len(r) == 0 {
		return ""
	}
	// A first word with capitals or signs inside is a name and stays as it is.
	if word, _, _ := strings.Cut(string(r), " "); word == strings.ToLower(word) && !strings.ContainsAny(word, "._/") {
		r[0] = unicode.ToUpper(r[0])
	}
	if last := r[len(r)-1]; last != '.' && last != '?' && last != '!' {
		r = append(r, '.')
	}
	return string(r)
}

// note tells bounds, choices and unit where there is something to tell.
func (st *setting) note() string {
	if st.kind == kindDuration || len(st.rule.choices) > 0 || st.bounds() != "" {
		a := st.allowed()
		return strings.ToUpper(a[:1]) + a[1:] + "."
	}
	return ""
}

func (st *setting) yamlDefault() string {
	v, err := st.parse(raw{text: st.def})
	if err != nil {
		return st.def
	}
	var node yaml.Node
	switch st.kind {
	case kindString:
		node = yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: v.text}
	case kindList:
		node = yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
		for _, it := range v.any.([]string) {
			node.Content = append(node.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: it})
		}
	default:
		return v.text
	}
	out, err := yaml.Marshal(&node)
	if err != nil {
		return fmt.Sprintf("%q", v.text)
	}
	return strings.TrimSuffix(string(out), "\n")
}

// wrap breaks text between words.
func wrap(text string, width int) []string {
	var out []string
	line := ""
	for _, w := range strings.Fields(text) {
		if line != "" && len(line)+1+len(w) > width {
			out, line = append(out, line), ""
		}
		if line != "" {
			line += " "
		}
		line += w
	}
	if line != "" {
		out = append(out, line)
	}
	return out
}

//go:embed reference.yaml
var referenceFile string

// ReferenceFile is the embedded reference file: every setting with its default
// and a comment.
func ReferenceFile() string { return referenceFile }
