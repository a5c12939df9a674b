package recorder

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"lineout/media"
)

// wavScan is what was found in a growing or torn WAVE file. Everything behind
// the header is sound; the sizes in the header are not looked at.
type wavScan struct {
	meta  fileMeta
	codec media.Codec
	p     media.Params
	size  int64 // bytes of sound
}

func scanWAV(r io.ReaderAt, size int64) (scanned, error) {
	if size < headerSize {
		return nil, fmt.Errorf("the file is shorter than a header")
	}
	buf := make([]byte, headerSize)
	if _, err := r.ReadAt(buf, 0); err != nil {
		return nil, err
	}
	s := &wavScan{}
	if err := s.readHeader(buf); err != nil {
		return nil, err
	}
	width := int64(waveSize(s.codec, &s.p))
	s.size = (size - headerSize) / width * width
	return s, nil
}

// readHeader wants our chunks, of which the last is the head of the sound.
func (s *wavScan) readHeader(b []byte) error {
	if id := string(b[:4]); id != "RIFF" && id != "RF64" || string(b[8:12]) != "WAVE" {
		return fmt.Errorf("the header is damaged: it does not begin as WAVE")
	}
	found := false
	for b = b[12:]; len(b) > 8; {
		id, n := string(b[:4]), int64(binary.LittleEndian.Uint32(b[4:]))
		if n += n % 2; n > int64(len(b)-8) {
			return fmt.Errorf("the header is damaged: the chunk %q is cut short", id)
		}
		p := b[8 : 8+n]
		b = b[8+n:]
		switch {
		case id == "fmt " && n >= 16:
			s.readFormat(p)
		case id == "JUNK" && len(p) > len(factsUUID) && [16]byte(p) == factsUUID:
			if err := json.Unmarshal(bytes.TrimRight(p[len(factsUUID):], "\x00"), &s.meta); err != nil {
				return fmt.Errorf("the facts in the header are damaged: %w", err)
			}
			found = true
		}
	}
	if len(b) != 8 || string(b[:4]) != "data" || !found || s.codec == "" {
		return fmt.Errorf("the header is not one of an unfinished recording")
	}
	return nil
}

func (s *wavScan) readFormat(p []byte) {
	rate, channels := binary.LittleEndian.Uint32(p[4:]), binary.LittleEndian.Uint16(p[2:])
	c := waveCodec(binary.LittleEndian.Uint16(p))
	if rate == 0 || rate > maxRate || channels == 0 || channels > 2 {
		return
	}
	if q := (media.Params{SampleRate: int(rate), Channels: int(channels)}); bytes.Equal(waveFormat(c, &q), p[:min(len(p), 18)]) {
		s.codec, s.p = c, q
	}
}

func (s *wavScan) facts() fileMeta  { return s.meta }
func (s *wavScan) empty() bool      { return s.size == 0 }
func (s *wavScan) wholeSize() int64 { return headerSize + s.size }

func (s *wavScan) samples() int64 { return s.size / int64(waveSize(s.codec, &s.p)) }

func (s *wavScan) duration() time.Duration { return ticksToTime(s.samples(), int64(s.p.SampleRate)) }

// ending implements scanned.
func (s *wavScan) ending() ending { return ending{duration: s.duration(), audio: label(s.codec)} }

// contents implements scanned.
func (s *wavScan) contents() []SidecarTrack {
	return []SidecarTrack{{Kind: media.Audio.String(), Codec: string(s.codec), Parameters: parameters[s.codec],
		SampleRate: s.p.SampleRate, Channels: s.p.Channels, Frames: s.samples(), Keyframes: s.samples(),
		Bytes: s.size, EndMS: roundMS(s.duration())}}
}

// rewrite implements scanned: the same sound behind a short header.
func (s *wavScan) rewrite(ctx context.Context, r io.ReaderAt, w io.Writer) error {
	out := bufio.NewWriterSize(w, 1<<20)
	if _, err := out.Write(waveHeader(s.codec, &s.p, uint64(s.size), nil, 0)); err != nil {
		return err
	}
	if err := copyPieces(ctx, out, r, headerSize, s.wholeSize()); err != nil {
		return err
	}
	if s.size%2 == 1 { // chunks are padded to even lengths
		if err := out.WriteByte(0); err != nil {
			return err
		}
	}
	return out.Flush()
}

// copyPieces copies from one position to another and looks at ctx in between.
func copyPieces(ctx context.Context, w io.Writer, r io.ReaderAt, from, to int64) error {
	const piece = 4 << 20
	for ; from < to; from += piece {
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, err := io.Copy(w, io.NewSectionReader(r, from, min(piece, to-from))); err != nil {
			return err
		}
	}
	return nil
}
