package recorder

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"time"

	"lineout/codecs/opus"
	"lineout/media"
)

// oggMuxer makes Ogg files of Opus (RFC 3533, RFC 7845), a page or two for
// each fragment. Each page carries a checksum, so that players leave out one
// that was cut short. Where sound is missing the decoder is told to conceal,
// because a page says only how many samples there are so far.
type oggMuxer struct {
	serial  uint32
	seq     uint32 // of the next page
	granule int64  // samples in pages so far
	pace    pace   // counts those of the open fragment too
	toc     byte   // of the newest packet
	data    []byte
	packets []int // their lengths
	out     []byte
}

// Flags of a page (RFC 3533 section 6).
const (
	oggBegin = 2
	oggEnd   = 4
)

const (
	oggHead = 27 // bytes of a page before its table of segments
	// oggHeaders are the pages before the sound.
	oggHeaders = 2
	// opusUnit is the shortest Opus frame in samples.
	opusUnit = 120
)

// factsTag is the comment that holds fileMeta in a growing file.
const factsTag = "LINEOUT="

// header implements muxer.
func (m *oggMuxer) header(h header) ([]byte, error) {
	facts, err := json.Marshal(h.meta)
	if err != nil {
		return nil, err
	}
	if h.audio == nil {
		return nil, fmt.Errorf("an Ogg file is for sound")
	}
	m.serial, m.seq, m.pace.rate = crc32.ChecksumIEEE(facts), oggHeaders, opus.ClockRate
	b := oggFirst(m.serial, 2)
	tags := opusTags(factsTag + string(facts))
	// What follows the comments is padding (RFC 7845 section 5.2).
	room := headerSize - len(b) - oggHead
	room -= (room + 255) / 256
	if len(tags) > room {
		return nil, fmt.Errorf("Ogg header of %d bytes does not fit in %d", len(b)+oggHead+len(tags), headerSize)
	}
	tags = append(tags, make([]byte, room-len(tags))...)
	return appendPage(b, 0, 0, m.serial, 1, lacing(nil, len(tags)), tags), nil
}

// oggFirst is the page that says what the stream is.
func oggFirst(serial uint32, channels byte) []byte {
	head := opusHead(channels)
	return appendPage(nil, oggBegin, 0, serial, 0, lacing(nil, len(head)), head)
}

// opusTags is the comment header with these comments.
func opusTags(comments ...string) []byte {
	const vendor = "lineout"
	b := binary.LittleEndian.AppendUint32([]byte("OpusTags"), uint32(len(vendor)))
	b = binary.LittleEndian.AppendUint32(append(b, vendor...), uint32(len(comments)))
	for _, c := range comments {
		b = append(binary.LittleEndian.AppendUint32(b, uint32(len(c))), c...)
	}
	return b
}

// lacing appends the segment sizes of one packet.
func lacing(b []byte, n int) []byte {
	for ; n >= 255; n -= 255 {
		b = append(b, 255)
	}
	return append(b, byte(n))
}

// appendPage writes one page of whole packets.
func appendPage(b []byte, flags byte, granule int64, serial, seq uint32, table, payload []byte) []byte {
	from := len(b)
	b = append(b, 'O', 'g', 'g', 'S', 0, flags)
	b = binary.LittleEndian.AppendUint64(b, uint64(granule))
	b = binary.LittleEndian.AppendUint32(b, serial)
	b = binary.LittleEndian.AppendUint32(b, seq)
	b = append(b, 0, 0, 0, 0, byte(len(table)))
	b = append(append(b, table...), payload...)
	sealPage(b[from:])
	return b
}

// sealPage sets a page's checksum.
func sealPage(page []byte) {
	clear(page[22:26])
	binary.LittleEndian.PutUint32(page[22:], oggSum(page))
}

var oggTable = func() (t [256]uint32) {
	for i := range t {
		c := uint32(i) << 24
		for range 8 {
			top := c >> 31
			c = c<<1 ^ 0x04c11db7*top
		}
		t[i] = c
	}
	return t
}()

// oggSum is the checksum of RFC 3533 section 6, which runs the other way than
// that of hash/crc32.
func oggSum(b []byte) uint32 {
	c := uint32(0)
	for _, v := range b {
		c = c<<8 ^ oggTable[byte(c>>24)^v]
	}
	return c
}

// opusSamples is a packet's length in samples of 48 kHz, 0 if it is malformed.
func opusSamples(packet []byte) int64 {
	return timeToTicks(opus.PacketDuration(packet), opus.ClockRate)
}

// fill implements filler: frames of no bytes in the shape of the newest packet
// (RFC 7845 section 4.1), then what is left in the shortest there are.
func (m *oggMuxer) fill(l *liveFile, f *media.Frame) bool {
	n, more := m.pace.hole(f.DTS)
	frame := opusSamples([]byte{m.toc &^ 3})
	for n >= opusUnit {
		toc, size := m.toc, frame
		if n < frame {
			toc, size = 28<<3|m.toc&4, opusUnit // CELT fullband
		}
		k := min(n/size, opusMost/size)
		m.add(l, []byte{toc&^3 | 3, byte(k)}, k*size)
		n -= k * size
	}
	return more
}

// opusMost is the longest packet in samples.
const opusMost = 5760

// collect implements muxer. A packet whose time is over is left out.
func (m *oggMuxer) collect(l *liveFile, f *media.Frame) {
	at := f.DTS
	for _, d := range f.Data {
		n := opusSamples(d)
		late := m.pace.late(at)
		at += ticksToTime(n, opus.ClockRate)
		if n == 0 || late <= -n || len(d) > maxOpus {
			continue
		}
		m.toc = d[0]
		m.add(l, d, n)
	}
}

// maxOpus is the most bytes a packet can have (RFC 6716 section 3.4).
const maxOpus = 48 * 1275

func (m *oggMuxer) add(l *liveFile, packet []byte, samples int64) {
	l.note(m.pace.next())
	m.data = append(m.data, packet...)
	m.packets = append(m.packets, len(packet))
	m.pace.n += samples
}

// cutBefore implements muxer.
func (m *oggMuxer) cutBefore(*media.Frame) bool { return false }

// held implements muxer.
func (m *oggMuxer) held() int { return len(m.data) }

// hide implements muxer: checksums do that.
func (m *oggMuxer) hide([]byte) {}

// encode implements muxer.
func (m *oggMuxer) encode(time.Duration) ([]byte, error) {
	out, data := m.out[:0], m.data
	var table [255]byte
	segments := table[:0]
	size := 0
	page := func() {
		out = appendPage(out, 0, m.granule, m.serial, m.seq, segments, data[:size])
		m.seq++
		data, segments, size = data[size:], table[:0], 0
	}
	for _, n := range m.packets {
		if len(segments)+n/255+1 > len(table) {
			page()
		}
		segments = lacing(segments, n)
		m.granule += opusSamples(data[size : size+n])
		size += n
	}
	page()
	m.out, m.data, m.packets = out, m.data[:0], m.packets[:0]
	return out, nil
}
