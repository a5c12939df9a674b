package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"lineout/media"
	"lineout/server"
)

// printCodecs writes what the server can do with each codec on this machine.
func printCodecs(list []server.CodecInfo, asJSON bool, w io.Writer) int {
	if asJSON {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		if e.Encode(list) != nil {
			return 1
		}
		return 0
	}
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(tw, "CODEC\tKIND\tBY\tCONVERTED INTO\tMADE OF")
	for _, c := range list {
		what := c.By
		if what == "" {
			what = "-"
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\n", c.Name, c.Kind, what, join(c.Into), join(c.From))
	}
	if tw.Flush() != nil {
		return 1
	}
	for _, c := range list {
		if c.Missing != "" {
			fmt.Fprintf(w, "%s: %s\n", c.Name, c.Missing)
		}
	}
	return 0
}

func join(names []media.Codec) string {
	if len(names) == 0 {
		return "-"
	}
	s := make([]string, len(names))
	for i, n := range names {
		s[i] = string(n)
	}
	return strings.Join(s, " ")
}
