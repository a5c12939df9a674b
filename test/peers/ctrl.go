package peers

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"time"
)

// Event is one event or answer of baresip's control port.
type Event struct {
	Event     bool   `json:"event"`
	Class     string `json:"class"` // "call", "register"
	Type      string `json:"type"`  // "CALL_INCOMING", "CALL_ESTABLISHED", "CALL_CLOSED", "REGISTER_OK" ...
	Param     string `json:"param"` // free text: the reason of an end, a DTMF digit
	PeerURI   string `json:"peeruri"`
	Direction string `json:"direction"`
	ID        string `json:"id"` // SIP Call-ID
	Response  bool   `json:"response"`
	OK        bool   `json:"ok"`
	Data      string `json:"data"`
	Token     string `json:"token"`
}

// control speaks the netstring framed JSON of baresip's ctrl_tcp module. The
// module serves one connection, so commands and events share it.
type control struct {
	conn net.Conn
	done chan struct{}

	mu      sync.Mutex
	tokens  int
	answers map[string]chan Event
	events  []Event
	more    chan struct{} // closed and replaced at each event
}

func dialControl(port int) (*control, error) {
	conn, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), 5*time.Second)
	if err != nil {
		return nil, fmt.Errorf("connect to the control port: %w", err)
	}
	c := &control{conn: conn, done: make(chan struct{}), answers: map[string]chan Event{}, more: make(chan struct{})}
	go c.read()
	return c, nil
}

// Close ends the connection and waits for its reader.
func (c *control) Close() {
	c.conn.Close()
	<-c.done
}

func (c *control) read() {
	defer close(c.done)
	r := bufio.NewReader(c.conn)
	for {
		m, err := readNetstring(r)
		if err != nil {
			return
		}
		var e Event
		if json.Unmarshal(escapeControls(m), &e) != nil {
			continue
		}
		c.mu.Lock()
		if e.Response {
			if w := c.answers[e.Token]; w != nil {
				w <- e
				delete(c.answers, e.Token)
			}
		} else if e.Type != "CALL_RTCP" { // one every few seconds and track, of no use
			c.events = append(c.events, e)
			close(c.more)
			c.more = make(chan struct{})
		}
		c.mu.Unlock()
	}
}

// escapeControls makes JSON of what baresip sends: terminal colours stand raw in its strings.
func escapeControls(m []byte) []byte {
	out := make([]byte, 0, len(m))
	for _, b := range m {
		if b < 0x20 {
			out = fmt.Appendf(out, `\u%04x`, b)
		} else {
			out = append(out, b)
		}
	}
	return out
}

// readNetstring reads LENGTH ":" BYTES "," (https://cr.yp.to/proto/netstrings.txt).
func readNetstring(r *bufio.Reader) ([]byte, error) {
	head, err := r.ReadString(':')
	if err != nil {
		return nil, err
	}
	n, err := strconv.Atoi(head[:len(head)-1])
	if err != nil || n < 0 || n > 1<<20 {
		return nil, fmt.Errorf("netstring of length %q", head)
	}
	b := make([]byte, n+1)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, err
	}
	if b[n] != ',' {
		return nil, fmt.Errorf("netstring without its comma")
	}
	return b[:n], nil
}

// command sends a command and waits for its answer.
func (c *control) command(name, params string) (Event, error) {
	w := make(chan Event, 1)
	c.mu.Lock()
	c.tokens++
	token := strconv.Itoa(c.tokens)
	c.answers[token] = w
	m, _ := json.Marshal(map[string]string{"command": name, "params": params, "token": token})
	c.conn.SetWriteDeadline(time.Now().Add(5 * time.Second))
	_, err := fmt.Fprintf(c.conn, "%d:%s,", len(m), m)
	c.mu.Unlock()
	if err != nil {
		return Event{}, fmt.Errorf("command %s: %w", name, err)
	}
	timer := time.NewTimer(10 * time.Second)
	defer timer.Stop()
	select {
	case e := <-w:
		return e, nil
	case <-c.done:
		return Event{}, fmt.Errorf("command %s: the control connection is closed", name)
	case <-timer.C:
		return Event{}, fmt.Errorf("command %s: no answer within 10 s", name)
	}
}

// wait returns the first event from index from on that match accepts, and the index after it.
func (c *control) wait(from int, timeout time.Duration, match func(Event) bool) (Event, int, error) {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	for i := from; ; {
		c.mu.Lock()
		for ; i < len(c.events); i++ {
			if e := c.events[i]; match(e) {
				c.mu.Unlock()
				return e, i + 1, nil
			}
		}
		more := c.more
		c.mu.Unlock()
		select {
		case <-more:
		case <-c.done:
			return Event{}, i, fmt.Errorf("the phone is gone")
		case <-timer.C:
			return Event{}, i, fmt.Errorf("not within %v; events so far: %+v", timeout, c.all())
		}
	}
}

func (c *control) all() []Event {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Event(nil), c.events...)
}
