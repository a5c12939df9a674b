package peers

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"lineout/test/media"
)

// Firefox is a running headless Firefox with a microphone and a camera that are
// made up: a tone and a picture. It has no H.264, which Firefox loads from the network.
type Firefox struct {
	mu  sync.Mutex
	in  io.Writer
	out *bufio.Reader
}

// FirefoxPage is one tab.
type FirefoxPage struct {
	f  *Firefox
	id int
}

type firefoxCommand struct {
	Op     string `json:"op"`
	URL    string `json:"url,omitempty"`
	Page   int    `json:"page"`
	JS     string `json:"js,omitempty"`
	File   string `json:"file,omitempty"`
	Width  int    `json:"width,omitempty"`
	Height int    `json:"height,omitempty"`
}

// StartFirefox starts Firefox, driven by puppeteer over WebDriver BiDi.
func StartFirefox(t testing.TB) *Firefox {
	t.Helper()
	program, err := exec.LookPath("firefox-esr")
	if err != nil {
		if program, err = exec.LookPath("firefox"); err != nil {
			t.Fatal("no Firefox is installed: run tools/install-test-deps.sh")
		}
	}
	root, err := media.ModuleRoot()
	if err != nil {
		t.Fatal(err)
	}
	answers, far, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { answers.Close() })
	cmd := exec.Command("node", filepath.Join(root, "test", "firefox.mjs"), program, t.TempDir())
	cmd.ExtraFiles = []*os.File{far}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	start(t, "firefox", cmd)
	far.Close()
	f := &Firefox{in: in, out: bufio.NewReader(answers)}
	if v, err := f.answer(); err != nil {
		t.Fatalf("firefox: start: %v", err)
	} else {
		t.Logf("%s", v)
	}
	t.Cleanup(func() { // before its process is stopped: it takes its profile with it
		in.Close()
		_, _ = f.out.ReadByte()
	})
	return f
}

func (f *Firefox) answer() (json.RawMessage, error) {
	line, err := f.out.ReadBytes('\n')
	if err != nil {
		return nil, fmt.Errorf("it has ended: %w", err)
	}
	var a struct {
		Value json.RawMessage
		Error string
	}
	if err := json.Unmarshal(line, &a); err != nil {
		return nil, err
	}
	if a.Error != "" {
		return nil, fmt.Errorf("%s", a.Error)
	}
	return a.Value, nil
}

func (f *Firefox) do(t testing.TB, c firefoxCommand) json.RawMessage {
	t.Helper()
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, err = f.in.Write(append(b, '\n')); err == nil {
		var v json.RawMessage
		if v, err = f.answer(); err == nil {
			return v
		}
	}
	t.Fatalf("firefox: %s %s%s: %v", c.Op, c.URL, c.JS, err)
	return nil
}

// Open opens an address in a new tab.
func (f *Firefox) Open(t testing.TB, url string, width, height int) *FirefoxPage {
	t.Helper()
	p := &FirefoxPage{f: f}
	if err := json.Unmarshal(f.do(t, firefoxCommand{Op: "open", URL: url, Width: width, Height: height}), &p.id); err != nil {
		t.Fatal(err)
	}
	return p
}

// Eval evaluates a JavaScript expression in the page; a promise is awaited.
func (p *FirefoxPage) Eval(t testing.TB, js string, into any) {
	t.Helper()
	if err := json.Unmarshal(p.f.do(t, firefoxCommand{Op: "eval", Page: p.id, JS: js}), into); err != nil {
		t.Fatalf("firefox: %s: %v", js, err)
	}
}

// Do evaluates an expression whose value is not wanted.
func (p *FirefoxPage) Do(t testing.TB, js string) {
	t.Helper()
	p.f.do(t, firefoxCommand{Op: "eval", Page: p.id, JS: "void (" + js + ")"})
}

// Fill replaces the value of an input.
func (p *FirefoxPage) Fill(t testing.TB, selector, value string) {
	t.Helper()
	p.Do(t, fmt.Sprintf("document.querySelector(%q).value = %q", selector, value))
}

// Click clicks an element.
func (p *FirefoxPage) Click(t testing.TB, selector string) {
	t.Helper()
	p.Do(t, fmt.Sprintf("document.querySelector(%q).click()", selector))
}

// WaitFor waits until an expression is true.
func (p *FirefoxPage) WaitFor(t testing.TB, js string, timeout time.Duration) {
	t.Helper()
	err := poll(timeout, func() (bool, error) {
		var yes bool
		p.Eval(t, "Promise.resolve("+js+").then(Boolean)", &yes)
		return yes, nil
	})
	if err != nil {
		p.Screenshot(t, "failed")
		t.Fatalf("firefox: waiting for %s: %v; console: %s", js, err, p.f.do(t, firefoxCommand{Op: "console", Page: p.id}))
	}
}

// Screenshot writes the tab as NAME.png to the test's artefacts and returns its path.
func (p *FirefoxPage) Screenshot(t testing.TB, name string) string {
	t.Helper()
	file := filepath.Join(Artefacts(t), name+".png")
	p.f.do(t, firefoxCommand{Op: "shot", Page: p.id, File: file})
	return file
}
