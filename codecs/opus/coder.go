package opus

import (
	"fmt"

	"github.com/thesyncim/gopus"
)

// Decoder turns packets into interleaved samples, +-1.0. One goroutine uses it.
type Decoder interface {
	// Decode writes a packet's sound to the front of pcm, which must have room
	// for it (MaxDuration at most), and returns the samples per channel.
	Decode(packet []byte, pcm []float32) (int, error)
	// Conceal fills pcm with an invented continuation: a multiple of 2.5 ms,
	// at most 60 ms at a time.
	Conceal(pcm []float32) error
	// Recover fills pcm with the copy of the packet before that next carries
	// (forward error correction, RFC 6716 section 2.1.7); it conceals where
	// next has none. pcm is as long as next; next is to be decoded after it.
	Recover(next []byte, pcm []float32) error
}

// Encoder turns frames of 20 ms of interleaved samples, +-1.0, into packets.
// One goroutine uses it.
type Encoder interface {
	// Encode writes a packet to the front of dst (MaxPacket bytes are always
	// enough) and returns its length.
	Encode(pcm []float32, dst []byte) (int, error)
	// Lookahead is by how many samples at the encoder's rate a decoded sound
	// comes later than it went in.
	Lookahead() int
}

// MaxPacket is the size in bytes of a buffer that holds any packet our encoder makes.
const MaxPacket = 1275

// EncoderConfig shapes an encoder.
type EncoderConfig struct {
	// SampleRate is 8000, 12000, 16000, 24000 or 48000 Hz; Channels 1 or 2.
	SampleRate, Channels int
	// Bitrate is in bit/s.
	Bitrate int
	// PacketLoss is the expected loss in percent; above 0 mono packets carry a
	// copy of speech in the one before. For stereo it is not used: the
	// encoder (gopus v0.1.2) makes packets of 48 kbit/s and more that decode to
	// noise then, to its own decoder and to others.
	PacketLoss int
}

// complexity 5 costs half of 10 and was measured to be indistinguishable in SNR
// on telephone speech.
const complexity = 5

// NewDecoder returns a decoder to sampleRate (8000, 12000, 16000, 24000, 48000
// Hz) and 1 or 2 channels: Opus mixes and resamples by itself.
func NewDecoder(sampleRate, channels int) (Decoder, error) {
	c := gopus.DefaultDecoderConfig(sampleRate, channels)
	d, err := gopus.NewDecoder(c)
	if err != nil {
		return nil, fmt.Errorf("making an Opus decoder for %d Hz, %d channels: %w", sampleRate, channels, err)
	}
	return &decoder{d}, nil
}

type decoder struct{ d *gopus.Decoder }

func (d *decoder) Decode(packet []byte, pcm []float32) (int, error) {
	if PacketDuration(packet) == 0 {
		return 0, fmt.Errorf("decoding an Opus packet of %d bytes: its first bytes break RFC 6716 section 3.2", len(packet))
	}
	n, err := d.d.Decode(packet, pcm)
	if err != nil {
		return 0, fmt.Errorf("decoding an Opus packet of %d bytes: %w", len(packet), err)
	}
	return n, nil
}

func (d *decoder) Conceal(pcm []float32) error {
	_, err := d.d.Decode(nil, pcm)
	return err
}

func (d *decoder) Recover(next []byte, pcm []float32) error {
	_, err := d.d.DecodeWithFEC(next, pcm, true)
	return err
}

// NewEncoder returns an encoder for speech.
func NewEncoder(c EncoderConfig) (Encoder, error) {
	if c.PacketLoss < 0 || c.PacketLoss > 100 {
		return nil, fmt.Errorf("making an Opus encoder: a packet loss of %d %% must be 0 to 100", c.PacketLoss)
	}
	if c.Channels == 2 {
		c.PacketLoss = 0
	}
	e, err := gopus.NewEncoder(gopus.EncoderConfig{SampleRate: c.SampleRate, Channels: c.Channels, Application: gopus.ApplicationVoIP})
	if err != nil {
		return nil, fmt.Errorf("making an Opus encoder for %d Hz, %d channels: %w", c.SampleRate, c.Channels, err)
	}
	for _, set := range []func() error{
		func() error { return e.SetFrameSize(c.SampleRate / 50) },
		func() error { return e.SetComplexity(complexity) },
		func() error { return e.SetBitrate(c.Bitrate) },
		func() error { return e.SetPacketLoss(c.PacketLoss) },
	} {
		if err := set(); err != nil {
			return nil, fmt.Errorf("making an Opus encoder of %d bit/s for %d Hz, %d channels, %d %% loss: %w", c.Bitrate, c.SampleRate, c.Channels, c.PacketLoss, err)
		}
	}
	e.SetFEC(c.PacketLoss > 0)
	return &encoder{e}, nil
}

type encoder struct{ e *gopus.Encoder }

func (e *encoder) Encode(pcm []float32, dst []byte) (int, error) { return e.e.Encode(pcm, dst) }
func (e *encoder) Lookahead() int                                { return e.e.Lookahead() }
