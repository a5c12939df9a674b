package main

import (
	"strings"
	"testing"
)

// printed is what a report prints of events: "action package test output".
func printed(t *testing.T, source string, lines ...string) string {
	t.Helper()
	var b strings.Builder
	r := report{out: &b, source: func(string, string, string) string { return source }}
	for _, line := range lines {
		f := strings.SplitN(line, "|", 4)
		for len(f) < 4 {
			f = append(f, "")
		}
		if f[3] != "" {
			f[3] += "\n"
		}
		r.take(event{Action: f[0], Package: f[1], Test: f[2], Output: f[3]})
	}
	r.summary()
	_, end, _ := strings.Cut(b.String(), "\nwhat failed:\n")
	return end
}

func TestSummary(t *testing.T) {
	long := strings.Repeat("x", 500)
	for name, c := range map[string]struct {
		source string
		lines  []string
		want   string
	}{
		"assertion among the logs of programs": {"t.Errorf(", []string{
			"output|p|TestA|=== RUN   TestA",
			"output|p|TestA|    a_test.go:3: want 1",
			"output|p|TestA|        got 2",
			"output|p|TestA|    process.go:9: end of the log:",
			"output|p|TestA|        panic at the disco",
			"output|p|TestA|a line that the program broke",
			"output|p|TestA|        and more of it",
			"output|p|TestA|--- FAIL: TestA (0.00s)",
			"fail|p|TestA|", "output|p||FAIL", "output|p||FAIL\tp\t0.1s", "fail|p||",
		}, "--- FAIL: p TestA\n    a_test.go:3: want 1\n        got 2\n"},
		"a subtest, not its parents": {"", []string{
			"output|p|TestA|=== RUN   TestA", "output|p|TestB|    b_test.go:1: fine", "pass|p|TestB|",
			"output|p|TestA/x|    a_test.go:3: bad", "fail|p|TestA/x|", "output|p|TestA|--- FAIL: TestA (0.00s)", "fail|p|TestA|", "fail|p||",
		}, "--- FAIL: p TestA/x\n    a_test.go:3: bad\n"},
		"what is logged is left out": {"	t.Logf(", []string{
			"output|p|TestA|    a_test.go:3: just so", "fail|p|TestA|", "fail|p||",
		}, "--- FAIL: p TestA\n"},
		"a panic ends tests": {"", []string{
			"output|p|TestA|=== RUN   TestA", "output|p|TestA|panic: oh", "output|p|TestA|goroutine 1", "output|p||FAIL\tp\t0.1s", "fail|p||",
		}, "--- FAIL: p TestA\n    panic: oh\n    goroutine 1\n"},
		"a package that does not build": {"", []string{
			"build-output|p||p/a.go:1: undefined", "build-fail|p||", "output|p||FAIL\tp [build failed]", "fail|p||",
		}, "--- FAIL: p (outside of its tests)\n    p/a.go:1: undefined\n"},
		"long lines": {"", []string{
			"output|p|TestA|    a_test.go:3: " + long, "fail|p|TestA|", "fail|p||",
		}, "--- FAIL: p TestA\n    " + ("a_test.go:3: " + long)[:lineLength] + "…\n"},
	} {
		if got := printed(t, c.source, c.lines...); got != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, c.want)
		}
	}
}

func TestSummaryShowsFirstAndLast(t *testing.T) {
	lines := []string{}
	for range 50 {
		lines = append(lines, "output|p|TestA|    a_test.go:3: so")
	}
	lines = append(lines, "output|p|TestA|    a_test.go:4: at last", "fail|p|TestA|", "fail|p||")
	got := printed(t, "", lines...)
	if n := strings.Count(got, "\n"); n != mostBlocks+2 || !strings.HasSuffix(got, "... 39 more ...\n"+strings.Repeat("    a_test.go:3: so\n", 7)+"    a_test.go:4: at last\n") {
		t.Errorf("%d lines:\n%s", n, got)
	}
}
