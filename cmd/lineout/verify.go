package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"

	"lineout/recorder"
)

const verifyUsage = `lineout verify [--json] [--no-sidecar] FILE...

Proves recordings: SHA-256 and size against the sidecar FILE.json, and the
container by itself. One line per file, "ok" or "FAILED" with the reason.

  --json         one JSON object per line
  --no-sidecar   a file without a sidecar is judged by its container alone

Exit code 0 if all files are ok, 1 if one is not.
`

// verify is the command of this name; it returns the exit code.
func verify(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("lineout verify", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.Usage = func() { fmt.Fprint(stderr, verifyUsage) }
	asJSON := fs.Bool("json", false, "")
	noSidecar := fs.Bool("no-sidecar", false, "")
	switch err := fs.Parse(args); {
	case err == flag.ErrHelp:
		return 0
	case err != nil:
		return 2
	case fs.NArg() == 0:
		fmt.Fprint(stderr, verifyUsage)
		return 2
	}
	code := 0
	for _, file := range fs.Args() {
		p := recorder.Verify(ctx, file, *noSidecar)
		if !p.OK {
			code = 1
		}
		if err := report(stdout, p, *asJSON); err != nil {
			fmt.Fprintln(stderr, "lineout:", err)
			return 1
		}
	}
	return code
}

// report prints one verdict.
func report(w io.Writer, p recorder.Proof, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(w).Encode(p)
	}
	if !p.OK {
		_, err := fmt.Fprintf(w, "FAILED %s: %s\n", p.File, p.Reason)
		return err
	}
	var tracks string
	for _, t := range p.Tracks {
		tracks += fmt.Sprintf(", %s %s %d frames", t.Kind, t.Codec, t.Frames)
	}
	note := ""
	if p.Note != "" {
		note = " (" + p.Note + ")"
	}
	_, err := fmt.Fprintf(w, "ok %s: %.3f s%s%s\n", p.File, float64(p.DurationMS)/1000, tracks, note)
	return err
}
