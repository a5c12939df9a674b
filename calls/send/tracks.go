package send

import (
	"fmt"
	"time"

	"lineout/calls/leg"
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

// sound packs the frames of one track.
type sound struct {
	codec codecs.Codec
	pt    uint8
	rate  int // bytes per second, 0: packets are sent as they are
	size  int // of a packet in bytes, if rate is set

	rest []byte    // not sent yet, less than size
	at   time.Time // where rest begins
	end  time.Time // of what was sent
}

func newSound(c codecs.Codec, f leg.Format, packet time.Duration) *sound {
	s := &sound{codec: c, pt: f.PayloadType, rate: bytesPerSecond[c.Name()]}
	s.size = int(packet * time.Duration(s.rate) / time.Second)
	return s
}

// length is the play time of n bytes.
func (s *sound) length(n int) time.Duration {
	return time.Duration(n) * time.Second / time.Duration(s.rate)
}

func (s *sound) write(md leg.Media, at time.Time, f *media.Frame) error {
	for i, d := range f.Data {
		length := s.codec.Duration(f.Data[i : i+1])
		if length == 0 {
			continue // malformed
		}
		if err := s.add(md, at, length, d); err != nil {
			return err
		}
		at = at.Add(length)
	}
	return nil
}

// add sends one piece of sound, or keeps of it what does not fill a packet.
func (s *sound) add(md leg.Media, at time.Time, length time.Duration, d []byte) error {
	if s.rate == 0 {
		return s.send(md, at, length, d)
	}
	if len(s.rest) > 0 && at.Sub(s.at.Add(s.length(len(s.rest)))).Abs() > time.Millisecond {
		if err := s.flush(md); err != nil {
			return err
		}
	}
	if len(s.rest) == 0 {
		s.at = at
		for len(d) >= s.size { // the usual case: no copy
			if err := s.send(md, s.at, s.length(s.size), d[:s.size]); err != nil {
				return err
			}
			s.at, d = s.at.Add(s.length(s.size)), d[s.size:]
		}
	}
	s.rest = append(s.rest, d...)
	sent := 0
	for ; len(s.rest)-sent >= s.size; sent += s.size {
		if err := s.send(md, s.at, s.length(s.size), s.rest[sent:sent+s.size]); err != nil {
			return err
		}
		s.at = s.at.Add(s.length(s.size))
	}
	s.rest = s.rest[:copy(s.rest, s.rest[sent:])]
	return nil
}

// flush sends what is left as a short packet.
func (s *sound) flush(md leg.Media) error {
	if len(s.rest) == 0 {
		return nil
	}
	err := s.send(md, s.at, s.length(len(s.rest)), s.rest)
	s.rest = s.rest[:0]
	return err
}

func (s *sound) send(md leg.Media, at time.Time, length time.Duration, payload []byte) error {
	s.end = at.Add(length)
	return md.WriteRTP(media.Audio, leg.Outgoing{PayloadType: s.pt, At: at, Length: length, Payload: payload})
}

// picture packs the frames of one track.
type picture struct {
	codec codecs.Codec
	pt    uint8
	pack  codecs.Packetizer
	data  [][]byte // scratch
}

func newPicture(c codecs.Codec, f leg.Format) *picture {
	p := &picture{codec: c, pt: f.PayloadType}
	if c.Name() == h264.Name && packetizationMode(f.Fmtp) == 0 {
		p.pack = h264.NewSinglePacketizer(payloadMax)
	} else {
		p.pack = c.NewPacketizer(payloadMax)
	}
	return p
}

func (p *picture) write(md leg.Media, at time.Time, f *media.Frame) error {
	payloads, err := p.pack.Packetize(p.withSets(f))
	if err != nil {
		return fmt.Errorf("send a picture of %d bytes into the call: %w", f.Size(), err)
	}
	for i, b := range payloads { // the last packet carries the marker (RFC 6184 section 5.1, RFC 7741 section 4.1)
		if err := md.WriteRTP(media.Video, leg.Outgoing{PayloadType: p.pt, At: at, Marker: i == len(payloads)-1, Payload: b}); err != nil {
			return err
		}
	}
	return nil
}

// withSets puts parameter sets in front of a key frame whose source told them
// elsewhere: a decoder can start nowhere else.
func (p *picture) withSets(f *media.Frame) [][]byte {
	if !f.Key || p.codec.Name() != h264.Name || h264.HasParameterSets(f.Data) {
		return f.Data
	}
	par := f.Params
	if par == nil {
		par = f.Track.Params()
	}
	if par == nil {
		return f.Data
	}
	p.data = append(append(p.data[:0], par.Sets...), f.Data...)
	return p.data
}
