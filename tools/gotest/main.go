// Command gotest runs "go test" with its arguments and prints what went wrong
// once more at the very end: which tests failed, each with its own first
// assertions, not drowned in the logs of programs under test. Tests that pass
// print nothing but their package's line. It exits as "go test" does.
//
//	go run ./tools/gotest -race ./...
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
)

func main() {
	code, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "gotest:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

func run(args []string) (code int, err error) {
	cmd := exec.Command("go", append([]string{"test", "-json"}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 1, err
	}
	if err := cmd.Start(); err != nil {
		return 1, fmt.Errorf("start go test: %w", err)
	}
	r := report{out: os.Stdout, source: sourceLine}
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			break // the end; what go test thinks of it is its exit code
		}
		var e event
		if json.Unmarshal(line, &e) != nil {
			os.Stdout.Write(line)
			continue
		}
		r.take(e)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); errors.As(err, &exit) {
		r.summary()
		return max(exit.ExitCode(), 1), nil
	} else if err != nil {
		return 1, fmt.Errorf("go test: %w", err)
	}
	return 0, nil
}
