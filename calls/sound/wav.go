package sound

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"lineout/codecs/g711"
	"lineout/codecs/l16"
	"lineout/media"
)

// rates are those the resampler of conversions is good for.
var rates = []int{8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000}

// Format tags of WAVE files (RFC 2361).
const (
	tagPCM        = 1
	tagALaw       = 6
	tagMuLaw      = 7
	tagExtensible = 0xfffe
)

// samples is the track of 16-bit samples at a rate in Hz.
func samples(rate int) *media.Track {
	t := &media.Track{ID: "audio", Kind: media.Audio, Codec: l16.Name, ClockRate: rate, Channels: 1}
	t.SetParams(&media.Params{SampleRate: rate, Channels: 1})
	return t
}

// wav reads a WAVE file: 16-bit samples, A-law or mu-law, mixed down to mono.
type wav struct {
	io.Closer
	r        io.Reader
	tag      uint16
	rate     int
	channels int
	left     int64 // bytes of sound; negative: until the end
	done     int64 // samples given out

	raw []byte
	pcm []int16
	out []byte
}

// newWAV reads the header. The RIFF form is a row of chunks, each with a name, a
// length and, after an odd length, a byte of padding.
func newWAV(r io.Reader, c io.Closer) (*wav, error) {
	w := &wav{r: r, Closer: c}
	var head [12]byte
	if _, err := io.ReadFull(r, head[:]); err != nil || string(head[8:]) != "WAVE" {
		return nil, errors.New("it is a RIFF file but no WAVE")
	}
	for {
		var chunk [8]byte
		if _, err := io.ReadFull(r, chunk[:]); err != nil {
			return nil, errors.New("it is a WAVE file without sound")
		}
		size := int64(binary.LittleEndian.Uint32(chunk[4:]))
		switch name := string(chunk[:4]); {
		case name == "fmt ":
			if err := w.format(size); err != nil {
				return nil, err
			}
		case name == "data" && w.rate != 0:
			if w.left = size; size == 0 || size == 0xffffffff { // written by a program that could not go back
				w.left = -1
			}
			return w, nil
		default:
			if _, err := io.CopyN(io.Discard, r, size+size&1); err != nil {
				return nil, errors.New("it is a WAVE file cut short")
			}
		}
	}
}

func (w *wav) format(size int64) error {
	if size < 16 || size > 4096 {
		return fmt.Errorf("its WAVE header has %d bytes", size)
	}
	b := make([]byte, size+size&1)
	if _, err := io.ReadFull(w.r, b); err != nil {
		return errors.New("it is a WAVE file cut short")
	}
	w.tag, w.channels = binary.LittleEndian.Uint16(b), int(binary.LittleEndian.Uint16(b[2:]))
	rate, bits := int(binary.LittleEndian.Uint32(b[4:])), binary.LittleEndian.Uint16(b[14:])
	if w.tag == tagExtensible && size >= 26 {
		w.tag = binary.LittleEndian.Uint16(b[24:])
	}
	want := uint16(8)
	if w.tag == tagPCM {
		want = 16
	}
	if w.tag != tagPCM && w.tag != tagALaw && w.tag != tagMuLaw || bits != want || w.channels < 1 || w.channels > 2 || !slices.Contains(rates, rate) {
		return fmt.Errorf("WAVE of format %d with %d bits, %d channels, %d Hz is not among those read here (PCM of 16 bits, A-law, mu-law; mono, stereo; 8 to 48 kHz)",
			w.tag, bits, w.channels, rate)
	}
	w.rate = rate
	return nil
}

// next gives 20 ms, at the end less.
func (w *wav) next() ([]byte, time.Duration, error) {
	width := w.channels
	if w.tag == tagPCM {
		width *= 2
	}
	n := w.rate / 50 * width
	if w.left >= 0 {
		n = int(min(int64(n), w.left))
	}
	w.raw = slices.Grow(w.raw[:0], n)[:n]
	n, err := io.ReadFull(w.r, w.raw)
	if n -= n % width; n == 0 {
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, 0, err
		}
		return nil, 0, io.EOF
	}
	if w.left >= 0 {
		w.left -= int64(n)
	}
	w.decode(w.raw[:n])
	from := w.done
	w.done += int64(len(w.pcm))
	return w.mix(), w.time(w.done) - w.time(from), nil
}

// time is that of the n-th sample.
func (w *wav) time(n int64) time.Duration {
	rate := int64(w.rate)
	return time.Duration(n/rate)*time.Second + time.Duration(n%rate)*time.Second/time.Duration(rate)
}

// decode fills pcm with the samples of mono sound.
func (w *wav) decode(b []byte) {
	w.pcm = w.pcm[:0]
	switch w.tag {
	case tagALaw:
		w.pcm = g711.DecodePCMA(w.pcm, b)
	case tagMuLaw:
		w.pcm = g711.DecodePCMU(w.pcm, b)
	default:
		for ; len(b) >= 2; b = b[2:] {
			w.pcm = append(w.pcm, int16(binary.LittleEndian.Uint16(b)))
		}
	}
	if w.channels == 2 {
		for i := range len(w.pcm) / 2 {
			w.pcm[i] = int16((int(w.pcm[2*i]) + int(w.pcm[2*i+1])) / 2)
		}
		w.pcm = w.pcm[:len(w.pcm)/2]
	}
}

func (w *wav) mix() []byte {
	w.out = w.out[:0]
	for _, s := range w.pcm {
		w.out = binary.BigEndian.AppendUint16(w.out, uint16(s))
	}
	return w.out
}
