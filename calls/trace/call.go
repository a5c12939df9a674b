package trace

import (
	"net/netip"
	"sync"
	"time"

	"lineout/media"
)

const (
	// maxMessages and maxText bound the SIP messages of a call: the first
	// keepFirst stay, of the others the oldest go.
	maxMessages = 400
	maxText     = 192 << 10
	keepFirst   = 24
	// maxNotes bounds the changes of status of a call.
	maxNotes = 500
	// maxFlows bounds the pairs of addresses, maxSources and maxTypes what is
	// told apart in each.
	maxFlows   = 24
	maxSources = 8
)

// Message is one SIP message, its secrets masked.
type Message struct {
	At            time.Time
	Sent          bool
	Local, Remote netip.AddrPort
	Text          string
}

// Note is something that happened to the call.
type Note struct {
	At   time.Time
	Text string
}

// Flow is what went between two addresses in one direction.
type Flow struct {
	Kind media.Kind
	RTCP bool
	// Sent is the direction, seen from this server. Local may be unspecified.
	Sent          bool
	Local, Remote netip.AddrPort
	// Refused packets came from an address or with a payload type that is not
	// the call's; they are counted but not kept.
	Packets, Bytes, Refused uint64
	First, Last             time.Time
	// SSRCs and PayloadTypes are those of RTP packets, the first eight.
	SSRCs        []uint32
	PayloadTypes []uint8
}

// Call is the record of one call. Safe for concurrent use.
type Call struct {
	ID        string
	Started   time.Time
	room      int  // bytes for packets
	media     bool // keep payloads
	encrypted bool // also of encrypted calls

	mu       sync.Mutex
	ended    time.Time
	host     string
	account  string
	messages []Message
	text     int // bytes of messages
	notes    []Note
	lost     int // messages and notes that went
	flows    []Flow
	ring     ring
	final    any
}

// Content says what a packet's payload is.
type Content uint8

// Kinds of payload.
const (
	Plain     Content = iota
	Encrypted         // on its way; what is recorded is not
	Secret            // never to be kept: digits
)

// Snapshot is a copy of what is known of a call, without packets.
type Snapshot struct {
	ID      string
	Started time.Time
	// Ended is zero while the call runs.
	Ended    time.Time
	Account  string // registered for it, login@domain, "" for none
	Host     string // our address as announced to the other party
	Messages []Message
	Notes    []Note
	Flows    []Flow
	// Forgotten messages and notes did not fit; Packets are kept of Seen.
	Forgotten     int
	Packets, Seen int
	// Final is what End was given.
	Final any
}

// Host tells how this server is called towards the other party.
func (c *Call) Host(host string) {
	if c == nil {
		return
	}
	c.mu.Lock()
	c.host = host
	c.mu.Unlock()
}

// Note records what happened.
func (c *Call) Note(text string) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.notes) >= maxNotes {
		c.lost++
		return
	}
	c.notes = append(c.notes, Note{time.Now(), text})
}

// End says that the call is over. Messages and packets that come later are
// recorded all the same. final is kept for Snapshot.
func (c *Call) End(final any) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended.IsZero() {
		c.ended, c.final = time.Now(), final
	}
}

func (c *Call) over() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.ended.IsZero()
}

// size is the memory the call may take.
func (c *Call) size() int { return c.room + maxText/4 }

func (c *Call) message(sent bool, local, remote netip.AddrPort, b []byte) {
	text := Mask(b)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.messages = append(c.messages, Message{time.Now(), sent, local, remote, text})
	c.text += len(text)
	for len(c.messages) > maxMessages || c.text > maxText {
		i := min(keepFirst, len(c.messages)-1)
		c.text -= len(c.messages[i].Text)
		c.messages = append(c.messages[:i], c.messages[i+1:]...)
		c.lost++
	}
}

// Received records a packet that came to a local port. refused packets are
// only counted. b is not kept; nothing is allocated once the flow is known.
func (c *Call) Received(k media.Kind, rtcp bool, port int, from netip.AddrPort, b []byte, now time.Time, refused bool, what Content) {
	if c == nil {
		return
	}
	c.packet(k, rtcp, false, port, from, b, now, refused, what)
}

// Sent records a packet that was sent from a local port.
func (c *Call) Sent(k media.Kind, rtcp bool, port int, to netip.AddrPort, b []byte, what Content) {
	if c == nil {
		return
	}
	c.packet(k, rtcp, true, port, to, b, time.Now(), false, what)
}

func (c *Call) packet(k media.Kind, rtcp, sent bool, port int, remote netip.AddrPort, b []byte, now time.Time, refused bool, what Content) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := c.flow(k, rtcp, sent, port, remote)
	if i < 0 {
		return
	}
	f := &c.flows[i]
	if refused {
		f.Refused++
		return
	}
	if f.Packets == 0 {
		f.First = now
	}
	f.Packets++
	f.Bytes += uint64(len(b))
	f.Last = now
	if !rtcp && len(b) >= 12 {
		f.source(uint32(b[8])<<24|uint32(b[9])<<16|uint32(b[10])<<8|uint32(b[11]), b[1]&0x7f)
	}
	keep := len(b)
	if !rtcp && (!c.media || what == Secret || what == Encrypted && !c.encrypted) {
		keep = headerLen(b)
	}
	if c.ring.buf == nil && c.room > 0 {
		c.ring.init(c.room, c.media)
	}
	c.ring.add(uint8(i), now, len(b), b[:keep])
}

// flow finds or makes the flow of a packet; -1 when there are too many.
func (c *Call) flow(k media.Kind, rtcp, sent bool, port int, remote netip.AddrPort) int {
	for i := range c.flows {
		f := &c.flows[i]
		if f.Remote == remote && int(f.Local.Port()) == port && f.Kind == k && f.RTCP == rtcp && f.Sent == sent {
			return i
		}
	}
	if len(c.flows) >= maxFlows {
		return -1
	}
	local := netip.IPv4Unspecified()
	if remote.Addr().Is6() {
		local = netip.IPv6Unspecified()
	}
	c.flows = append(c.flows, Flow{Kind: k, RTCP: rtcp, Sent: sent, Local: netip.AddrPortFrom(local, uint16(port)), Remote: remote})
	return len(c.flows) - 1
}

func (f *Flow) source(ssrc uint32, pt uint8) {
	f.SSRCs = remember(f.SSRCs, ssrc)
	f.PayloadTypes = remember(f.PayloadTypes, pt)
}

func remember[T comparable](list []T, v T) []T {
	for _, x := range list {
		if x == v {
			return list
		}
	}
	if len(list) >= maxSources {
		return list
	}
	return append(list, v)
}

// Snapshot copies what is known.
func (c *Call) Snapshot() Snapshot {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := Snapshot{ID: c.ID, Started: c.Started, Ended: c.ended, Account: c.account, Host: c.host, Forgotten: c.lost, Packets: c.ring.len(), Seen: c.ring.seen, Final: c.final,
		Messages: append([]Message(nil), c.messages...), Notes: append([]Note(nil), c.notes...), Flows: append([]Flow(nil), c.flows...)}
	for i := range s.Flows { // the lists grow
		s.Flows[i].SSRCs = append([]uint32(nil), s.Flows[i].SSRCs...)
		s.Flows[i].PayloadTypes = append([]uint8(nil), s.Flows[i].PayloadTypes...)
	}
	return s
}
