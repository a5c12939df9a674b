// Package codecs says what is true of a codec whatever protocol carries it:
// where decoding can start, which parameters a decoder needs, how it is packed
// in RTP, and how it is converted into another codec. Each codec has its own
// folder below this one; the server lists them in one table.
package codecs

import (
	"log/slog"
	"time"

	"github.com/pion/rtp"

	"lineout/media"
)

// Codec is the stateless knowledge about one codec. Safe for concurrent use.
type Codec interface {
	Name() media.Codec
	Kind() media.Kind
	// ClockRate is the RTP clock in Hz.
	ClockRate() int
	// Keyframe says whether decoding can start at this access unit.
	Keyframe(data [][]byte) bool
	// Params returns the parameters in force after this access unit: prev
	// itself when nothing changed, so that callers may compare pointers. It
	// may return nil while the parameters are not known yet.
	Params(prev *media.Params, data [][]byte) *media.Params
	// Duration is the play time of an audio packet, 0 if it cannot tell.
	Duration(data [][]byte) time.Duration
	// NewDepacketizer and NewPacketizer return state for one track, used by
	// one goroutine.
	NewDepacketizer() Depacketizer
	NewPacketizer(mtu int) Packetizer
}

// Silencer is implemented by audio codecs that can say silence without an
// encoder: comfort media for a phone that hangs up on a mute line (S2-35), and
// filler for a late track (S4-15).
type Silencer interface {
	// Silence returns one packet's payload of 20 ms, not to be changed.
	Silence() []byte
}

// Peeker is implemented by video codecs that can tell from a single RTP payload
// that a key frame begins in it.
type Peeker interface {
	KeyframeBegins(payload []byte) bool
}

// AccessUnit is what a Depacketizer hands out.
type AccessUnit struct {
	// Timestamp is the RTP timestamp of its packets.
	Timestamp uint32
	Data      [][]byte
	Packets   []*rtp.Packet
	// Damaged says that a packet of this unit is missing: it must not reach a
	// decoder that cannot conceal.
	Damaged bool
}

// Depacketizer turns packets in sequence order into access units.
type Depacketizer interface {
	// Push takes the next packet; lost says that at least one packet directly
	// before it never came. The returned units (none, one, or two when a new
	// timestamp closes a unit without marker) are valid until the next Push.
	// Malformed payloads damage their unit; they never panic.
	Push(p *rtp.Packet, lost bool) []AccessUnit
}

// Packetizer splits access units into RTP payloads.
type Packetizer interface {
	// Packetize returns the payloads of one access unit in sending order, the
	// last of which carries the marker. Valid until the next call.
	Packetize(data [][]byte) ([][]byte, error)
}

// Options shape what a conversion produces. Zero values mean the codec's own
// sensible defaults.
type Options struct {
	// Bitrate is in bit/s.
	Bitrate int
	// SampleRate (Hz) and Channels ask for an output form.
	SampleRate, Channels int
	// Prompt wants frames of sound as early as they can be had: they begin so much
	// before the input that none waits for the input after the one it ends in.
	Prompt bool
	// Log is for what an operator must know of a conversion; nil for nothing.
	Log *slog.Logger
}

// Conversion turns the frames of one track into those of another codec. One
// goroutine uses it; emitted frames carry the input's timeline.
type Conversion interface {
	// Convert consumes f and emits zero or more frames. Track is filled in by
	// the caller. A non-nil error ends the conversion.
	Convert(f *media.Frame, emit func(*media.Frame)) error
	// Close frees what the conversion holds.
	Close() error
}

// Flusher is implemented by conversions that hold frames back, as encoders that
// look ahead do.
type Flusher interface {
	// Flush emits what is left, after the last Convert and before Close.
	Flush(emit func(*media.Frame)) error
}

// Late is implemented by conversions whose frames become ready by themselves,
// after the Convert that began them has returned. Who converts collects them as
// soon as Ready says so, else the last ones before a pause come with what follows it.
type Late interface {
	// Ready has a token when there may be something to collect. It is another
	// channel after any call of Convert or Collect, nil when nothing is under way.
	Ready() <-chan struct{}
	// Collect emits what is ready; from the goroutine that calls Convert.
	Collect(emit func(*media.Frame))
}

// Converter is an edge in the codec graph.
type Converter struct {
	From, To media.Codec
	// ClockRate and Channels describe the track that comes out.
	ClockRate, Channels int
	New                 func(in *media.Track, o Options) (Conversion, error)
}

// Table is the set of codecs and conversions a server has.
type Table struct {
	codecs     map[media.Codec]Codec
	order      []Codec
	converters []Converter
	rules      Rules
	excluded   map[media.Codec]bool // from streaming
	missing    map[media.Codec]error
}

// NewTable builds a table; the order of codecs is kept for listings.
func NewTable(cs []Codec, conv []Converter) *Table {
	t := &Table{codecs: make(map[media.Codec]Codec, len(cs)), order: cs, converters: conv}
	for _, c := range cs {
		t.codecs[c.Name()] = c
	}
	return t
}

// Get returns the codec with this name, nil if the server has none.
func (t *Table) Get(name media.Codec) Codec { return t.codecs[name] }

// Lack notes why the server does not have a codec that it could have. Call it
// before the table is used.
func (t *Table) Lack(name media.Codec, why error) {
	if t.missing == nil {
		t.missing = map[media.Codec]error{}
	}
	t.missing[name] = why
}

// Missing says why a codec is not in the table, nil if it is or was never known.
func (t *Table) Missing(name media.Codec) error { return t.missing[name] }

// All lists the codecs in table order.
func (t *Table) All() []Codec { return t.order }

// Converters lists the conversions in table order.
func (t *Table) Converters() []Converter { return t.converters }
