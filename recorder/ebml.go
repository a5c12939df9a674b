package recorder

import (
	"encoding/binary"
	"io"
	"math"
)

// EBML element IDs of Matroska and WebM files (RFC 8794, RFC 9559), with their length bits.
const (
	idEBML               = 0x1A45DFA3
	idEBMLVersion        = 0x4286
	idEBMLReadVersion    = 0x42F7
	idEBMLMaxIDLength    = 0x42F2
	idEBMLMaxSizeLength  = 0x42F3
	idDocType            = 0x4282
	idDocTypeVersion     = 0x4287
	idDocTypeReadVersion = 0x4285
	idSegment            = 0x18538067
	idSeekHead           = 0x114D9B74
	idSeek               = 0x4DBB
	idSeekID             = 0x53AB
	idSeekPosition       = 0x53AC
	idInfo               = 0x1549A966
	idTimestampScale     = 0x2AD7B1
	idDuration           = 0x4489
	idMuxingApp          = 0x4D80
	idWritingApp         = 0x5741
	idTracks             = 0x1654AE6B
	idTrackEntry         = 0xAE
	idTrackNumber        = 0xD7
	idTrackUID           = 0x73C5
	idTrackType          = 0x83
	idFlagLacing         = 0x9C
	idCodecID            = 0x86
	idCodecPrivate       = 0x63A2
	idSeekPreRoll        = 0x56BB
	idVideo              = 0xE0
	idPixelWidth         = 0xB0
	idPixelHeight        = 0xBA
	idAudio              = 0xE1
	idSamplingFrequency  = 0xB5
	idChannels           = 0x9F
	idBitDepth           = 0x6264
	idCluster            = 0x1F43B675
	idTimestamp          = 0xE7
	idSimpleBlock        = 0xA3
	idCues               = 0x1C53BB6B
	idCuePoint           = 0xBB
	idCueTime            = 0xB3
	idCueTrackPositions  = 0xB7
	idCueTrack           = 0xF7
	idCueClusterPosition = 0xF1
	idCueRelativePos     = 0xF0
	idVoid               = 0xEC
)

// sizeUnknown is the size of a Segment that is still written.
const sizeUnknown = 1<<56 - 1

func appendID(b []byte, id uint32) []byte {
	for shift := 24; shift >= 0; shift -= 8 {
		if id>>shift != 0 {
			b = append(b, byte(id>>shift))
		}
	}
	return b
}

// appendSize8 writes a size in eight bytes, so that its length is known before
// its value is.
func appendSize8(b []byte, n uint64) []byte {
	return binary.BigEndian.AppendUint64(b, 1<<56|n)
}

// appendSize writes a size in as few bytes as it needs.
func appendSize(b []byte, n int) []byte {
	for w := 1; w < 8; w++ {
		if uint64(n) < 1<<(7*w)-1 {
			v := uint64(n) | 1<<(7*w)
			for i := w - 1; i >= 0; i-- {
				b = append(b, byte(v>>(8*i)))
			}
			return b
		}
	}
	return appendSize8(b, uint64(n))
}

// element writes an element that holds payloads one after the other.
func element(b []byte, id uint32, payload ...[]byte) []byte {
	n := 0
	for _, p := range payload {
		n += len(p)
	}
	b = appendSize(appendID(b, id), n)
	for _, p := range payload {
		b = append(b, p...)
	}
	return b
}

// uintElement writes an unsigned integer in as few bytes as it needs.
func uintElement(b []byte, id uint32, v uint64) []byte {
	w := 1
	for v>>(8*w) != 0 && w < 8 {
		w++
	}
	b = append(appendID(b, id), 0x80|byte(w))
	for i := w - 1; i >= 0; i-- {
		b = append(b, byte(v>>(8*i)))
	}
	return b
}

// uint8Element writes an unsigned integer in eight bytes.
func uint8Element(b []byte, id uint32, v uint64) []byte {
	return binary.BigEndian.AppendUint64(append(appendID(b, id), 0x88), v)
}

func floatElement(b []byte, id uint32, v float64) []byte {
	return uint8Element(b, id, math.Float64bits(v))
}

// appendVoid writes a Void element of n bytes in all that begins with payload.
// n is at least two, and nine more than the payload needs if there is one.
func appendVoid(b []byte, n int, payload ...byte) []byte {
	from := len(b)
	b = append(b, idVoid)
	if n <= 127 {
		b = append(b, 0x80|byte(n-2))
	} else {
		b = appendSize8(b, uint64(n-9))
	}
	b = append(b, payload...)
	for len(b)-from < n {
		b = append(b, 0)
	}
	return b
}

// elementAt reads an element's head at pos and checks that the element lies
// within limit. head is the length of ID and size.
func elementAt(r io.ReaderAt, pos, limit int64) (id uint32, head, size int64, err error) {
	var h [12]byte
	n := min(limit-pos, int64(len(h)))
	if n < 2 {
		return 0, 0, 0, errTorn
	}
	if _, err := r.ReadAt(h[:n], pos); err != nil {
		return 0, 0, 0, err
	}
	id, head, size = parseElement(h[:n])
	if head == 0 || size != sizeUnknown && size > limit-pos-head {
		return 0, 0, 0, errTorn
	}
	return id, head, size, nil
}

// parseElement reads ID and size from the begin of b; head is 0 when they are
// damaged or not whole.
func parseElement(b []byte) (id uint32, head, size int64) {
	width := func(b []byte, most int) int {
		for w := 1; w <= most && len(b) >= w; w++ {
			if b[0]&(0x80>>(w-1)) != 0 {
				return w
			}
		}
		return 0
	}
	iw := width(b, 4)
	if iw == 0 {
		return 0, 0, 0
	}
	for _, c := range b[:iw] {
		id = id<<8 | uint32(c)
	}
	b = b[iw:]
	sw := width(b, 8)
	if sw == 0 {
		return 0, 0, 0
	}
	v := uint64(b[0]) & (0x7f >> (sw - 1))
	for _, c := range b[1:sw] {
		v = v<<8 | uint64(c)
	}
	if sw < 8 && v == 1<<(7*sw)-1 {
		v = sizeUnknown
	}
	return id, int64(iw + sw), int64(v)
}

// eachElement calls do with the elements in b, from their first byte on. It
// reports false when b is not made of whole elements or do refused one.
func eachElement(b []byte, do func(id uint32, at, head int, payload []byte) bool) bool {
	for at := 0; at < len(b); {
		id, head, size := parseElement(b[at:])
		if head == 0 || size > int64(len(b)-at)-head {
			return false
		}
		end := at + int(head+size)
		if !do(id, at, int(head), b[at+int(head):end]) {
			return false
		}
		at = end
	}
	return true
}

// uintOf reads the payload of an unsigned integer.
func uintOf(b []byte) uint64 {
	var v uint64
	for _, c := range b[:min(len(b), 8)] {
		v = v<<8 | uint64(c)
	}
	return v
}
