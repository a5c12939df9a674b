package recorder

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"time"

	"lineout/codecs/l16"
	"lineout/media"
)

// wavMuxer makes WAVE files of G.711 as it is or of samples. Silence is written
// where sound is missing, because the file has no times. Bytes that were written
// are good wherever the write was cut, and the sizes in the header follow each
// write.
type wavMuxer struct {
	h    header
	pace pace
	data []byte
	out  []byte
}

// waveSize is the length in bytes of one sample of all channels.
func waveSize(c media.Codec, p *media.Params) int {
	if c == l16.Name {
		return l16.SampleSize * max(p.Channels, 1)
	}
	return 1
}

// header implements muxer.
func (m *wavMuxer) header(h header) ([]byte, error) {
	if h.audio == nil {
		return nil, fmt.Errorf("a WAVE file is for sound")
	}
	m.h, m.pace.rate = h, int64(h.audio.SampleRate)
	return m.grown(headerSize)
}

// grown implements grower.
func (m *wavMuxer) grown(size int64) ([]byte, error) {
	facts, err := json.Marshal(m.h.meta)
	if err != nil {
		return nil, err
	}
	b := waveHeader(m.h.audioCodec, m.h.audio, uint64(size-headerSize), append(factsUUID[:], facts...), headerSize)
	if len(b) != headerSize {
		return nil, fmt.Errorf("WAVE header of %d bytes does not fit in %d", len(b), headerSize)
	}
	return b, nil
}

// waveHeader is everything before the samples, of which there are size bytes:
// RIFF, or RF64 (EBU Tech 3306) when 32 bits cannot say the sizes. facts are
// kept in a chunk that readers skip; it makes the header room bytes long. For
// room 0 there is none.
func waveHeader(c media.Codec, p *media.Params, size uint64, facts []byte, room int) []byte {
	sized := binary.LittleEndian.AppendUint32
	format := waveFormat(c, p)
	head := 12 + 36 + 8 + len(format) + 12 + 8
	if room > 0 {
		head += 8 + len(facts) + len(facts)%2
		head = max(head, room)
	}
	samples := size / uint64(waveSize(c, p))
	riff := uint64(head) - 8 + size + size%2
	large := riff > math.MaxUint32
	b := make([]byte, 0, head)
	if large {
		b = append(sized(append(b, "RF64"...), math.MaxUint32), "WAVEds64"...)
		b = sized(b, 28)
		for _, v := range []uint64{riff, size, samples} {
			b = binary.LittleEndian.AppendUint64(b, v)
		}
		b = sized(b, 0)
		size, samples = math.MaxUint32, math.MaxUint32
	} else {
		b = append(sized(append(b, "RIFF"...), uint32(riff)), "WAVEJUNK"...)
		b = append(sized(b, 28), make([]byte, 28)...)
	}
	b = append(sized(append(b, "fmt "...), uint32(len(format))), format...)
	b = sized(sized(append(b, "fact"...), 4), uint32(samples))
	if room > 0 {
		n := head - 8 - len(b) - 8
		b = append(sized(append(b, "JUNK"...), uint32(n)), facts...)
		b = append(b, make([]byte, n-len(facts))...)
	}
	return sized(append(b, "data"...), uint32(size))
}

// fill implements filler.
func (m *wavMuxer) fill(l *liveFile, f *media.Frame) bool {
	n, more := m.pace.hole(f.DTS)
	if n > 0 {
		l.note(m.pace.next())
		from, size := len(m.data), int(n)*waveSize(m.h.audioCodec, m.h.audio)
		m.data = slices.Grow(m.data, size)[:from+size]
		for i := range m.data[from:] {
			m.data[from+i] = silentByte[m.h.audioCodec]
		}
		m.pace.n += n
	}
	return more
}

// collect implements muxer. Of sound that goes back in time the front is left
// out.
func (m *wavMuxer) collect(l *liveFile, f *media.Frame) {
	at, width := f.DTS, waveSize(m.h.audioCodec, m.h.audio)
	for _, d := range f.Data {
		n := int64(len(d) / width)
		cut := min(max(-m.pace.late(at), 0), n)
		at += ticksToTime(n, m.pace.rate)
		if n == cut {
			continue
		}
		l.note(m.pace.next())
		from := len(m.data)
		m.data = append(m.data, d[int(cut)*width:int(n)*width]...)
		if m.h.audioCodec == l16.Name { // WAVE is little-endian
			for s := m.data[from:]; len(s) >= 2; s = s[2:] {
				s[0], s[1] = s[1], s[0]
			}
		}
		m.pace.n += n - cut
	}
}

// cutBefore implements muxer.
func (m *wavMuxer) cutBefore(*media.Frame) bool { return false }

// held implements muxer.
func (m *wavMuxer) held() int { return len(m.data) }

// hide implements muxer. There is nothing to hide: any part of it can be played.
func (m *wavMuxer) hide([]byte) {}

// encode implements muxer.
func (m *wavMuxer) encode(time.Duration) ([]byte, error) {
	m.out, m.data = m.data, m.out[:0]
	return m.out, nil
}
