package recorder

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"lineout/codecs/opus"
	"lineout/media"
)

// maxOggPage is the longest page there is.
const maxOggPage = oggHead + 255 + 255*255

// oggScan is what was found in a growing or torn Ogg file.
type oggScan struct {
	meta     fileMeta
	serial   uint32
	channels byte
	granule  int64
	packets  int64
	bytes    int64
	last     int64 // position of the last whole page
	whole    int64
}

// scanOgg reads the header and every whole page of a file we wrote. What
// follows the first torn or damaged one is left out.
func scanOgg(r io.ReaderAt, size int64) (scanned, error) {
	s := &oggScan{}
	if size < headerSize {
		return nil, fmt.Errorf("the file is shorter than a header")
	}
	buf := make([]byte, maxOggPage)
	if _, err := r.ReadAt(buf[:headerSize], 0); err != nil {
		return nil, err
	}
	if err := s.readHeader(buf[:headerSize]); err != nil {
		return nil, err
	}
	s.whole = headerSize
	for seq := uint32(oggHeaders); ; seq++ {
		b := buf[:min(size-s.whole, maxOggPage)]
		if n, err := r.ReadAt(b, s.whole); err != nil && n < len(b) {
			return nil, err
		}
		p, fault := parsePage(b)
		if fault != "" || p.serial != s.serial || p.seq != seq || p.flags != 0 || !s.take(p) {
			return s, nil
		}
		s.last = s.whole
		s.whole += int64(p.size)
	}
}

// oggPage is one page.
type oggPage struct {
	flags          byte
	granule        int64
	serial, seq    uint32
	table, payload []byte
	size           int
}

// parsePage reads the page b begins with; fault says what is wrong with it, ""
// if nothing is. Ours hold whole packets.
func parsePage(b []byte) (p oggPage, fault string) {
	if len(b) < oggHead || string(b[:5]) != "OggS\x00" {
		return p, "does not begin as a page"
	}
	n := int(b[26])
	if p.size = oggHead + n; n == 0 || len(b) < p.size {
		return p, "is cut short"
	}
	p.table = b[oggHead:p.size]
	for _, s := range p.table {
		p.size += int(s)
	}
	if len(b) < p.size {
		return p, "is cut short"
	}
	p.payload = b[oggHead+n : p.size]
	p.flags, p.granule = b[5], int64(binary.LittleEndian.Uint64(b[6:]))
	p.serial, p.seq = binary.LittleEndian.Uint32(b[14:]), binary.LittleEndian.Uint32(b[18:])
	sum := binary.LittleEndian.Uint32(b[22:])
	clear(b[22:26])
	if oggSum(b[:p.size]) != sum {
		fault = "does not have its checksum"
	} else if p.table[n-1] == 255 {
		fault = "ends within a packet"
	}
	binary.LittleEndian.PutUint32(b[22:], sum)
	return p, fault
}

// take counts a page of sound. Its time must be that of its packets.
func (s *oggScan) take(p oggPage) bool {
	at, packets, payload := s.granule, int64(0), p.payload
	for n, i := 0, 0; i < len(p.table); i++ {
		if n += int(p.table[i]); p.table[i] == 255 {
			continue
		}
		k := opusSamples(payload[:n])
		if k == 0 {
			return false
		}
		at += k
		packets++
		payload, n = payload[n:], 0
	}
	if at != p.granule {
		return false
	}
	s.granule, s.packets, s.bytes = at, s.packets+packets, s.bytes+int64(len(p.payload))
	return true
}

func (s *oggScan) readHeader(b []byte) error {
	head, fault := parsePage(b)
	if fault != "" || head.flags != oggBegin || !s.readHead(head) {
		return fmt.Errorf("the header is damaged: it does not begin as Opus in Ogg")
	}
	tags, fault := parsePage(b[head.size:])
	if fault != "" || head.size+tags.size != headerSize || tags.serial != head.serial {
		return fmt.Errorf("the header is damaged: its second page is not whole")
	}
	facts, ok := firstComment(tags.payload)
	if !ok || !strings.HasPrefix(facts, factsTag) {
		return fmt.Errorf("the header is not one of an unfinished recording")
	}
	if err := json.Unmarshal([]byte(facts[len(factsTag):]), &s.meta); err != nil {
		return fmt.Errorf("the facts in the header are damaged: %w", err)
	}
	return nil
}

// readHead takes the page that describes Opus as we do, see opusHead.
func (s *oggScan) readHead(p oggPage) bool {
	if len(p.payload) < 10 || p.payload[9] < 1 || p.payload[9] > 2 {
		return false
	}
	s.serial, s.channels = p.serial, p.payload[9]
	return bytes.Equal(p.payload, opusHead(s.channels))
}

// firstComment is the first comment of a comment header.
func firstComment(b []byte) (string, bool) {
	text := func() (string, bool) {
		if len(b) < 4 {
			return "", false
		}
		n := int64(binary.LittleEndian.Uint32(b))
		if b = b[4:]; n > int64(len(b)) {
			return "", false
		}
		t := string(b[:n])
		b = b[n:]
		return t, true
	}
	if !strings.HasPrefix(string(b), "OpusTags") {
		return "", false
	}
	b = b[8:]
	if _, ok := text(); !ok || len(b) < 4 || binary.LittleEndian.Uint32(b) == 0 {
		return "", false
	}
	b = b[4:]
	return text()
}

func (s *oggScan) facts() fileMeta  { return s.meta }
func (s *oggScan) empty() bool      { return s.packets == 0 }
func (s *oggScan) wholeSize() int64 { return s.whole }

func (s *oggScan) duration() time.Duration { return ticksToTime(s.granule, opus.ClockRate) }

// ending implements scanned.
func (s *oggScan) ending() ending {
	return ending{duration: s.duration(), audio: label(opus.Name)}
}

// contents implements scanned.
func (s *oggScan) contents() []SidecarTrack {
	return []SidecarTrack{{Kind: media.Audio.String(), Codec: string(opus.Name), Parameters: parameters[opus.Name],
		SampleRate: opus.ClockRate, Channels: int(s.channels), Frames: s.packets, Keyframes: s.packets,
		Bytes: s.bytes, EndMS: roundMS(s.duration())}}
}

// rewrite implements scanned: the same pages behind short headers, the last one
// marked as such.
func (s *oggScan) rewrite(ctx context.Context, r io.ReaderAt, w io.Writer) error {
	tags := opusTags()
	head := appendPage(oggFirst(s.serial, s.channels), 0, 0, s.serial, 1, lacing(nil, len(tags)), tags)
	out := bufio.NewWriterSize(w, 1<<20)
	if _, err := out.Write(head); err != nil {
		return err
	}
	if err := copyPieces(ctx, out, r, headerSize, s.last); err != nil {
		return err
	}
	page := make([]byte, s.whole-s.last)
	if _, err := r.ReadAt(page, s.last); err != nil {
		return err
	}
	page[5] |= oggEnd
	sealPage(page)
	if _, err := out.Write(page); err != nil {
		return err
	}
	return out.Flush()
}
