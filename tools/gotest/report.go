package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// event is one line of "go test -json" (go doc test2json).
type event struct {
	Action, Package, ImportPath, Test, Output string
}

// report prints what go test would and keeps what the end needs.
type report struct {
	out    io.Writer
	source func(pkg, file string, line string) string

	running map[string]*test // by package and name
	order   []string
	failed  []*test
}

// test is a test, or with an empty name all of a package outside of its tests.
type test struct {
	pkg, name string
	output    []string
}

const (
	mostBlocks = 12  // messages of a test
	blockLines = 6   // of a message
	mostLines  = 40  // of what is no message: a panic, a race
	lineLength = 300 // bytes
)

func (r *report) take(e event) {
	if e.Package == "" {
		e.Package, _, _ = strings.Cut(e.ImportPath, " ") // what is built has its test's name behind it
	}
	key := e.Package + "\x00" + e.Test
	if r.running == nil {
		r.running = map[string]*test{}
	}
	t := r.running[key]
	if t == nil {
		t = &test{pkg: e.Package, name: e.Test}
		r.running[key] = t
		r.order = append(r.order, key)
	}
	switch e.Action {
	case "output", "build-output":
		if e.Action == "build-output" || e.Test == "" && strings.HasPrefix(e.Output, "ok ") {
			io.WriteString(r.out, e.Output)
		}
		if !strings.HasPrefix(e.Output, "=== ") {
			t.output = append(t.output, e.Output)
		}
	case "pass", "skip":
		delete(r.running, key)
	case "fail", "build-fail":
		if e.Test == "" {
			r.unfinished(e.Package)
		}
		for _, line := range t.output {
			if e.Action == "fail" && !strings.HasPrefix(line, "ok ") {
				io.WriteString(r.out, line)
			}
		}
		r.failed = append(r.failed, t)
		delete(r.running, key)
	}
}

// unfinished are the tests that a package's end came upon: by a panic, a time-out or os.Exit.
func (r *report) unfinished(pkg string) {
	for _, key := range r.order {
		if t := r.running[key]; t != nil && t.pkg == pkg && t.name != "" {
			r.failed = append(r.failed, t)
			io.WriteString(r.out, strings.Join(t.output, ""))
			delete(r.running, key)
		}
	}
}

// summary says what failed: of each test that none of its own subtests made
// fail, the messages; of a package without such a test, the end of its output.
func (r *report) summary() {
	fmt.Fprint(r.out, "\nwhat failed:\n")
	for _, t := range r.failed {
		text := r.messages(t)
		if len(text) == 0 && r.hasFailed(t) {
			continue
		}
		name := t.name
		if name == "" {
			name = "(outside of its tests)"
		}
		fmt.Fprintf(r.out, "--- FAIL: %s %s\n", t.pkg, name)
		for _, line := range text {
			fmt.Fprintf(r.out, "    %s\n", cut(line))
		}
	}
}

// hasFailed says that something else explains why this failed: a test below it, or anything of its package.
func (r *report) hasFailed(t *test) bool {
	for _, o := range r.failed {
		if o != t && o.pkg == t.pkg && (t.name == "" || strings.HasPrefix(o.name, t.name+"/")) {
			return true
		}
	}
	return false
}

var message = regexp.MustCompile(`^ {4,}([A-Za-z0-9_.-]+\.go):(\d+): (.*)`)

// crash begins what Go itself says of a test that goes wrong.
var crash = regexp.MustCompile(`^(panic:|fatal error:|WARNING: DATA RACE|=====)`)

// messages are what a test says for itself, without what it only logs as far as
// that shows in its source; else the end of what was printed.
func (r *report) messages(t *test) []string {
	var blocks [][]string
	var other []string
	skip := false
	for _, line := range t.output {
		line = strings.TrimRight(line, "\n")
		if m := message.FindStringSubmatch(line); m != nil {
			// Only tests judge; what is not of a test's file is the log of a program.
			skip = !strings.HasSuffix(m[1], "_test.go") || strings.Contains(r.source(t.pkg, m[1], m[2]), ".Log")
			if !skip {
				blocks = append(blocks, []string{strings.TrimSpace(line)})
			}
			continue
		}
		rest := strings.TrimSpace(line)
		switch {
		case rest == "" || strings.HasPrefix(rest, "--- ") || rest == "FAIL" || strings.HasPrefix(rest, "FAIL\t") || strings.HasPrefix(rest, "exit status"):
		case skip && !crash.MatchString(rest): // a log goes on, whatever it looks like
		case !strings.HasPrefix(line, "        "):
			other, skip = append(other, line), false
		case len(blocks) > 0:
			if b := &blocks[len(blocks)-1]; len(*b) < blockLines {
				*b = append(*b, "    "+rest)
			}
		}
	}
	if n := len(blocks); n > mostBlocks { // what ended the test comes last
		left := []string{fmt.Sprintf("... %d more ...", n-mostBlocks)}
		blocks = append(append(blocks[:4:4], left), blocks[n-mostBlocks+4:]...)
	}
	var out []string
	for _, b := range blocks {
		out = append(out, b...)
	}
	return append(out, other[max(0, len(other)-mostLines):]...)
}

func cut(s string) string {
	if len(s) > lineLength {
		return strings.ToValidUTF8(s[:lineLength], "") + "…"
	}
	return s
}

// sourceLine is a line of a file of a package of this module, "" if it cannot be read.
func sourceLine(pkg, file, line string) string {
	_, dir, _ := strings.Cut(pkg, "/")
	b, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return ""
	}
	n := 0
	fmt.Sscan(line, &n)
	lines := strings.Split(string(b), "\n")
	if n < 1 || n > len(lines) {
		return ""
	}
	return lines[n-1]
}
