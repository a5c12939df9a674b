// Package trace keeps what calls said and got on the wire, for those who have to
// find out why one did not work: SIP messages without their secrets, the
// headers of RTP and RTCP packets, and what became of the call. It is all in
// memory, within limits for each call and for all together. The package knows
// neither SIP nor RTP libraries; whoever owns a socket hands it the bytes.
//
// A nil *Recorder and a nil *Call are in order and record nothing.
package trace

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// Config is the settings of the package.
type Config struct {
	Calls      int  `setting:"doctor_calls" default:"50" min:"0" max:"10000" doc:"How many ended calls the call doctor remembers; 0 switches it off."`
	CallBytes  int  `setting:"trace_call_bytes" default:"262144" min:"16384" max:"1073741824" doc:"Memory for the packet headers of one call: its first packets and its newest ones are kept."`
	TotalBytes int  `setting:"trace_total_bytes" default:"67108864" min:"1048576" max:"68719476736" doc:"Memory for all calls the call doctor knows; when it is used up, the oldest ended calls go, then new calls are kept without packets."`
	Media      bool `setting:"trace_media" default:"false" doc:"Keep whole media packets, not their headers only: whoever may see the trace can then hear the call. Of calls that are encrypted headers only, unless trace_srtp_media is set, too."`
	SRTPMedia  bool `setting:"trace_srtp_media" default:"false" doc:"With trace_media: keep the media of encrypted calls as well, decrypted."`
}

// Recorder holds the calls. Safe for concurrent use.
type Recorder struct {
	cfg Config

	mu    sync.Mutex
	calls []*Call // oldest first
	byID  map[string]*Call
	regs  map[string]*registration // by Call-ID
}

// New makes a recorder; nil when the settings switch it off.
func New(c Config) *Recorder {
	if c.Calls <= 0 {
		return nil
	}
	return &Recorder{cfg: c, byID: map[string]*Call{}, regs: map[string]*registration{}}
}

// Open begins the record of a call. An earlier one with this Call-ID is kept
// as long as others are, but not found any more.
func (r *Recorder) Open(id string) *Call {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	c := &Call{ID: id, Started: time.Now(), room: r.cfg.CallBytes, media: r.cfg.Media, encrypted: r.cfg.Media && r.cfg.SRTPMedia}
	if r.size()+c.size() > r.cfg.TotalBytes {
		r.shrink(c.size())
	}
	if r.size()+c.size() > r.cfg.TotalBytes {
		c.room = 0
	}
	r.calls = append(r.calls, c)
	r.byID[id] = c
	r.shrink(0)
	return c
}

// shrink forgets the oldest ended calls until there are few enough and need
// bytes are free.
func (r *Recorder) shrink(need int) {
	ended := 0
	for _, c := range r.calls {
		if c.over() {
			ended++
		}
	}
	size := r.size()
	r.calls = slices.DeleteFunc(r.calls, func(c *Call) bool {
		if !c.over() || ended <= r.cfg.Calls && size+need <= r.cfg.TotalBytes {
			return false
		}
		ended--
		size -= c.size()
		if r.byID[c.ID] == c {
			delete(r.byID, c.ID)
		}
		return true
	})
}

func (r *Recorder) size() (n int) {
	for _, c := range r.calls {
		n += c.size()
	}
	return n
}

// Message records a SIP message if it belongs to a call that is known. b is
// not kept.
func (r *Recorder) Message(sent bool, local, remote netip.AddrPort, b []byte) {
	if r == nil {
		return
	}
	id := callID(b)
	if len(id) == 0 {
		return
	}
	r.mu.Lock()
	c := r.byID[string(id)]
	if c == nil {
		r.registering(string(id), sent, local, remote, b)
	}
	r.mu.Unlock()
	if c != nil {
		c.message(sent, local, remote, b)
	}
}

// Find is the newest call with this Call-ID, or nil.
func (r *Recorder) Find(id string) *Call {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.byID[id]
}

// List is all calls that can be found, newest first.
func (r *Recorder) List() []*Call {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []*Call
	for _, c := range slices.Backward(r.calls) {
		if r.byID[c.ID] == c {
			out = append(out, c)
		}
	}
	return out
}

// callID is the value of the Call-ID header or its compact form (RFC 3261
// section 20.8), nil without one.
func callID(b []byte) []byte { return header(b, "Call-ID", "i") }

// header is the value of the first header with one of two names, nil without one.
func header(b []byte, long, short string) []byte {
	for len(b) > 0 {
		line, rest, _ := bytes.Cut(b, []byte{'\n'})
		if len(bytes.TrimRight(line, "\r")) == 0 {
			return nil // the end of the headers
		}
		name, value, found := bytes.Cut(line, []byte{':'})
		name = bytes.TrimRight(name, " \t")
		if found && (strings.EqualFold(string(name), long) || strings.EqualFold(string(name), short)) {
			return bytes.TrimSpace(value)
		}
		b = rest
	}
	return nil
}
