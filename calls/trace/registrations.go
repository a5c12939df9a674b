package trace

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"
	"time"
)

const (
	// maxRegistrations bounds the registrations whose messages are kept, those
	// used last; maxRegisters and maxRegisterText what is kept of each.
	maxRegistrations = 128
	maxRegisters     = 12
	maxRegisterText  = 24 << 10
)

// registration is the newest messages of one binding of this server at a
// registrar. It belongs to no call: calls share it.
type registration struct {
	account  string
	messages []Message
	text     int
}

// registering records a message of a registration: from the first REGISTER that
// was sent on, so that strangers do not fill the table. The caller holds mu.
func (r *Recorder) registering(id string, sent bool, local, remote netip.AddrPort, b []byte) {
	x := r.regs[id]
	if x == nil {
		if !sent || !bytes.HasPrefix(b, []byte("REGISTER ")) {
			return
		}
		if len(r.regs) >= maxRegistrations {
			r.forgetRegistration()
		}
		x = &registration{account: address(header(b, "To", "t"))}
		r.regs[id] = x
	}
	text := Mask(b)
	x.messages = append(x.messages, Message{time.Now(), sent, local, remote, text})
	x.text += len(text)
	for len(x.messages) > maxRegisters || x.text > maxRegisterText && len(x.messages) > 1 {
		x.text -= len(x.messages[0].Text)
		x.messages = x.messages[1:]
	}
}

// forgetRegistration drops the one that was silent for the longest time.
func (r *Recorder) forgetRegistration() {
	oldest, at := "", time.Time{}
	for id, x := range r.regs {
		if last := x.messages[len(x.messages)-1].At; oldest == "" || last.Before(at) {
			oldest, at = id, last
		}
	}
	delete(r.regs, oldest)
}

// Registering is what was said lately to register an account, login@domain.
func (r *Recorder) Registering(account string) []Message {
	if r == nil || account == "" {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []Message
	for _, x := range r.regs {
		if x.account == account {
			out = append(out, x.messages...)
		}
	}
	slices.SortStableFunc(out, func(a, b Message) int { return a.At.Compare(b.At) })
	return out
}

// Account tells which account, login@domain, was to be registered for the call.
func (c *Call) Account(account string) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.account = account
}

// address is what stands in a header's angle brackets, without scheme.
func address(value []byte) string {
	_, rest, ok := strings.Cut(string(value), "<")
	if !ok {
		return ""
	}
	uri, _, _ := strings.Cut(rest, ">")
	_, uri, _ = strings.Cut(uri, ":")
	return uri
}
