package sip

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
)

func options(body, extra string) string {
	return fmt.Sprintf("OPTIONS sip:a@b SIP/2.0\r\n%sContent-Length: %d\r\n\r\n%s", extra, len(body), body)
}

// feedAll gives a framer bytes in pieces and returns what comes out.
func feedAll(stream string, piece int) (messages []string, pings, pongs int, err error) {
	var f framer
	for len(stream) > 0 {
		n := copy(f.room(), stream[:min(piece, len(stream))])
		f.took(n)
		stream = stream[n:]
		for {
			m, ping, pong, e := f.next()
			if ping {
				pings++
			}
			if pong {
				pongs++
			}
			if e != nil {
				return messages, pings, pongs, e
			}
			if m == nil {
				break
			}
			messages = append(messages, string(m))
		}
	}
	return messages, pings, pongs, nil
}

// TestFramer cuts the same stream at every length into the same messages.
func TestFramer(t *testing.T) {
	want := []string{options("", ""), options("v=0\r\n\r\nOPTIONS", "X: \r\n"), "BYE x SIP/2.0\r\nl : 3\r\n\r\nabc", options(strings.Repeat("x", 40000), "")}
	stream := want[0] + want[1] + "\r\n\r\n" + want[2] + "\r\n" + want[3]
	for _, piece := range []int{1, 2, 3, 7, 64, 1000, 4096, len(stream)} {
		got, pings, pongs, err := feedAll(stream, piece)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(want) || piece > 3 && pings != 1 || pings+pongs == 0 {
			t.Errorf("pieces of %d: %d messages, %d pings, %d pongs, %v", piece, len(got), pings, pongs, err)
		}
	}
}

// TestFramerBounds: what would make us hold too much, or read one message as
// another, is refused (RFC 3261 section 18.3).
func TestFramerBounds(t *testing.T) {
	for name, stream := range map[string]string{
		"no Content-Length": "OPTIONS sip:a@b SIP/2.0\r\nX: y\r\n\r\n",
		"two that differ":   options("", "l: 5\r\n"),
		"negative":          "OPTIONS sip:a@b SIP/2.0\r\nContent-Length: -1\r\n\r\n",
		"overflow":          "OPTIONS sip:a@b SIP/2.0\r\nContent-Length: 18446744073709551617\r\n\r\n",
		"huge":              "OPTIONS sip:a@b SIP/2.0\r\nContent-Length: 2000000000\r\n\r\n",
		"just too long":     fmt.Sprintf("OPTIONS sip:a@b SIP/2.0\r\nContent-Length: %d\r\n\r\n", maxMessageBytes),
		"endless line":      strings.Repeat("x", maxHeadBytes+5000),
		"many headers":      options("", strings.Repeat("X: y\r\n", maxHeaders)),
		"long headers":      options("", "X: "+strings.Repeat("y", maxHeadBytes)+"\r\n"),
	} {
		for _, piece := range []int{100, 4096, 1 << 20} {
			if got, _, _, err := feedAll(stream, piece); err == nil || len(got) > 0 {
				t.Errorf("%s in pieces of %d: %d messages, %v", name, piece, len(got), err)
			}
		}
	}
}

// TestPulse: who answers pings is dead when it stops to; who never did is not.
func TestPulse(t *testing.T) {
	var p pulse
	at := func(s int) time.Time { return t0.Add(time.Duration(s) * time.Second) }
	step := func(s int, ping, dead bool) {
		t.Helper()
		if a, b := p.beat(at(s), 30*time.Second); a != ping || b != dead {
			t.Errorf("at %d s: ping %v dead %v", s, a, b)
		}
	}
	step(0, false, false)
	step(29, false, false)
	step(30, true, false)
	step(50, false, false) // never answered: nothing is expected
	step(60, true, false)
	p.pong()
	step(75, false, false)
	step(90, true, false)
	step(99, false, false)
	step(101, false, true)
	if ping, dead := (&pulse{}).beat(at(0), 0); ping || dead {
		t.Error("pings although switched off")
	}
}

func FuzzFramer(f *testing.F) {
	f.Add([]byte(options("abc", "")), 3)
	f.Add([]byte("\r\n\r\n\r"+options("", "l: 0\r\n")), 1)
	f.Add([]byte("x\r\n\r\n"), 2)
	f.Fuzz(func(t *testing.T, b []byte, piece int) {
		piece = max(1, min(piece&0xffff, 5000))
		whole, _, _, errWhole := feedAll(string(b), len(b)+1)
		parts, _, _, errParts := feedAll(string(b), piece)
		if fmt.Sprint(whole) != fmt.Sprint(parts) || (errWhole == nil) != (errParts == nil) {
			t.Errorf("whole: %q %v, in pieces of %d: %q %v", whole, errWhole, piece, parts, errParts)
		}
		for _, m := range whole {
			if len(m) > maxMessageBytes || !bytes.Contains([]byte(m), []byte("\r\n\r\n")) {
				t.Errorf("a message of %d bytes", len(m))
			}
		}
	})
}
