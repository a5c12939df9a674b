// Package pack cuts frames into packets for a leg: sound into the packet length
// that the other party asked for, pictures by their codec's packetizer.
package pack

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"lineout/codecs"
	"lineout/codecs/g711"
	"lineout/codecs/g722"
	"lineout/codecs/h264"
	"lineout/media"
)

// payloadMax is the largest RTP payload of pictures in bytes: with all headers
// it passes every tunnel in use.
const payloadMax = 1200

// bytesPerSecond are those of codecs whose packets can be cut anywhere.
var bytesPerSecond = map[media.Codec]int{
	g711.PCMA: g711.SampleRate, g711.PCMU: g711.SampleRate, g722.Name: g722.ClockRate,
}

// Sound packs the frames of one track. One goroutine uses it.
type Sound struct {
	codec codecs.Codec
	out   func(at time.Time, length time.Duration, payload []byte) error
	rate  int // bytes per second, 0: packets are sent as they are
	size  int // of a packet in bytes, if rate is set

	rest []byte    // not sent yet, less than size
	at   time.Time // where rest begins
	end  time.Time // of what was sent
}

// NewSound makes packets of a length. out gets each with the moment it begins;
// the payload is valid until it returns.
func NewSound(c codecs.Codec, packet time.Duration, out func(at time.Time, length time.Duration, payload []byte) error) *Sound {
	s := &Sound{codec: c, out: out, rate: bytesPerSecond[c.Name()]}
	s.size = int(packet * time.Duration(s.rate) / time.Second)
	return s
}

// End is the end of the sound that was sent.
func (s *Sound) End() time.Time { return s.end }

// length is the play time of n bytes.
func (s *Sound) length(n int) time.Duration {
	return time.Duration(n) * time.Second / time.Duration(s.rate)
}

// Write packs a frame that begins at a moment.
func (s *Sound) Write(at time.Time, f *media.Frame) error {
	for i, d := range f.Data {
		length := s.codec.Duration(f.Data[i : i+1])
		if length == 0 {
			continue // malformed
		}
		if err := s.add(at, length, d); err != nil {
			return err
		}
		at = at.Add(length)
	}
	return nil
}

// add sends one piece of sound, or keeps of it what does not fill a packet.
func (s *Sound) add(at time.Time, length time.Duration, d []byte) error {
	if s.rate == 0 {
		return s.send(at, length, d)
	}
	if len(s.rest) > 0 && at.Sub(s.at.Add(s.length(len(s.rest)))).Abs() > time.Millisecond {
		if err := s.Flush(); err != nil {
			return err
		}
	}
	if len(s.rest) == 0 {
		s.at = at
		for len(d) >= s.size { // the usual case: no copy
			if err := s.send(s.at, s.length(s.size), d[:s.size]); err != nil {
				return err
			}
			s.at, d = s.at.Add(s.length(s.size)), d[s.size:]
		}
	}
	s.rest = append(s.rest, d...)
	sent := 0
	for ; len(s.rest)-sent >= s.size; sent += s.size {
		if err := s.send(s.at, s.length(s.size), s.rest[sent:sent+s.size]); err != nil {
			return err
		}
		s.at = s.at.Add(s.length(s.size))
	}
	s.rest = s.rest[:copy(s.rest, s.rest[sent:])]
	return nil
}

// Flush sends what is left as a short packet.
func (s *Sound) Flush() error {
	if len(s.rest) == 0 {
		return nil
	}
	err := s.send(s.at, s.length(len(s.rest)), s.rest)
	s.rest = s.rest[:0]
	return err
}

func (s *Sound) send(at time.Time, length time.Duration, payload []byte) error {
	s.end = at.Add(length)
	return s.out(at, length, payload)
}

// Picture packs the frames of one track. One goroutine uses it.
type Picture struct {
	codec codecs.Codec
	out   func(at time.Time, marker bool, payload []byte) error
	pack  codecs.Packetizer
	data  [][]byte // scratch
}

// NewPicture packs as the fmtp of the other party's format allows. out gets each
// packet; the payload is valid until it returns.
func NewPicture(c codecs.Codec, fmtp string, out func(at time.Time, marker bool, payload []byte) error) *Picture {
	p := &Picture{codec: c, out: out}
	if c.Name() == h264.Name && PacketizationMode(fmtp) == 0 {
		p.pack = h264.NewSinglePacketizer(payloadMax)
	} else {
		p.pack = c.NewPacketizer(payloadMax)
	}
	return p
}

// Write packs the picture of a moment.
func (p *Picture) Write(at time.Time, f *media.Frame) error {
	payloads, err := p.pack.Packetize(p.withSets(f))
	if err != nil {
		return fmt.Errorf("send a picture of %d bytes into the call: %w", f.Size(), err)
	}
	for i, b := range payloads { // the last packet carries the marker (RFC 6184 section 5.1, RFC 7741 section 4.1)
		if err := p.out(at, i == len(payloads)-1, b); err != nil {
			return err
		}
	}
	return nil
}

// withSets puts parameter sets in front of a key frame whose source told them
// elsewhere: a decoder can start nowhere else.
func (p *Picture) withSets(f *media.Frame) [][]byte {
	if !f.Key || p.codec.Name() != h264.Name || h264.HasParameterSets(f.Data) {
		return f.Data
	}
	par := f.Params
	if par == nil && f.Track != nil {
		par = f.Track.Params()
	}
	if par == nil {
		return f.Data
	}
	p.data = append(append(p.data[:0], par.Sets...), f.Data...)
	return p.data
}

// PacketizationMode is that of a fmtp string, 0 when unsaid (RFC 6184 section 8.1).
func PacketizationMode(fmtp string) int {
	n, _ := strconv.Atoi(Parameter(fmtp, "packetization-mode"))
	return n
}

// Parameter is one of those of a fmtp string, "" if it is not there.
func Parameter(fmtp, name string) string {
	for _, p := range strings.Split(fmtp, ";") {
		if k, v, _ := strings.Cut(strings.TrimSpace(p), "="); strings.EqualFold(k, name) {
			return strings.TrimSpace(v)
		}
	}
	return ""
}
