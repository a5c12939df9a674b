package ffmpeg

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"lineout/media"
)

// unit is one access unit on its way to the program. Times are milliseconds
// from the first one; ms (decoding) strictly grows.
type unit struct {
	ms, pts int64
	key     bool
	params  *media.Params
	data    [][]byte
}

// picture is what came back.
type picture struct {
	ms   int64
	data [][]byte
}

// muxer writes a container, appending to a buffer of the caller's.
type muxer interface {
	// header begins a stream whose first unit is u.
	header(b []byte, u unit, w, h int) []byte
	unit(b []byte, u unit) []byte
}

// demuxer reads one. A picture's data is the caller's to keep.
type demuxer interface {
	next() (picture, error)
}

// maxPicture bounds a coded picture in bytes, far above any real one.
const maxPicture = 16 << 20

var errTooLarge = errors.New("a coded picture is larger than 16 MiB")

// ivfMuxer writes IVF with a time base of 1 ms: a header of 32 bytes, and 12
// before each frame.
type ivfMuxer struct{}

const ivfHeader, ivfFrame = 32, 12

func (ivfMuxer) header(b []byte, _ unit, w, h int) []byte {
	b = append(b, "DKIF\x00\x00\x20\x00VP80"...)
	b = binary.LittleEndian.AppendUint16(b, uint16(w))
	b = binary.LittleEndian.AppendUint16(b, uint16(h))
	b = binary.LittleEndian.AppendUint32(b, 1000)
	b = binary.LittleEndian.AppendUint32(b, 1)
	return append(b, 0, 0, 0, 0, 0, 0, 0, 0)
}

func (ivfMuxer) unit(b []byte, u unit) []byte {
	n := 0
	for _, d := range u.data {
		n += len(d)
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(n))
	b = binary.LittleEndian.AppendUint64(b, uint64(u.pts))
	for _, d := range u.data {
		b = append(b, d...)
	}
	return b
}

type ivfDemuxer struct {
	r     *bufio.Reader
	begun bool
}

func (d *ivfDemuxer) next() (picture, error) {
	if !d.begun {
		var h [ivfHeader]byte
		if _, err := io.ReadFull(d.r, h[:]); err != nil {
			return picture{}, err
		}
		if string(h[:4]) != "DKIF" || binary.LittleEndian.Uint32(h[16:]) != 1000 || binary.LittleEndian.Uint32(h[20:]) != 1 {
			return picture{}, fmt.Errorf("not IVF in milliseconds: %q", h[:24])
		}
		d.begun = true
	}
	var h [ivfFrame]byte
	if _, err := io.ReadFull(d.r, h[:]); err != nil {
		return picture{}, err
	}
	n := binary.LittleEndian.Uint32(h[:])
	if n > maxPicture {
		return picture{}, errTooLarge
	}
	data := make([]byte, n)
	if _, err := io.ReadFull(d.r, data); err != nil {
		return picture{}, err
	}
	return picture{ms: int64(binary.LittleEndian.Uint64(h[4:])), data: [][]byte{data}}, nil
}

// FLV video tags (Adobe FLV 10.1, annex E): tag type 9, codec 7 (AVC), packet
// type 0 with the parameter sets and 1 with NAL units of 4 byte lengths.
const (
	flvVideo    = 9
	flvTag      = 11
	flvAVC      = 7
	avcSequence = 0
	avcNALUs    = 1
)

type flvMuxer struct{}

func (m flvMuxer) header(b []byte, u unit, _, _ int) []byte {
	b = append(b, "FLV\x01\x01\x00\x00\x00\x09\x00\x00\x00\x00"...)
	if u.params == nil || len(u.params.Sets) < 2 || len(u.params.Sets[0]) < 4 {
		return b // they are in band
	}
	sps := u.params.Sets[0]
	c := []byte{1, sps[1], sps[2], sps[3], 0xff, 0xe1}
	c = append(binary.BigEndian.AppendUint16(c, uint16(len(sps))), sps...)
	c = append(c, byte(len(u.params.Sets)-1))
	for _, pps := range u.params.Sets[1:] {
		c = append(binary.BigEndian.AppendUint16(c, uint16(len(pps))), pps...)
	}
	return m.tag(b, unit{ms: u.ms, pts: u.ms, key: true}, avcSequence, func(b []byte) []byte { return append(b, c...) })
}

// unit puts the parameter sets in force before each key frame, so that a change
// of them that keeps the size needs nothing else.
func (m flvMuxer) unit(b []byte, u unit) []byte {
	return m.tag(b, u, avcNALUs, func(b []byte) []byte {
		if u.key && u.params != nil {
			b = appendNALUs(b, u.params.Sets)
		}
		return appendNALUs(b, u.data)
	})
}

func appendNALUs(b []byte, list [][]byte) []byte {
	for _, n := range list {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(n))), n...)
	}
	return b
}

func (flvMuxer) tag(b []byte, u unit, packet byte, body func([]byte) []byte) []byte {
	start := len(b)
	b = append(b, flvVideo, 0, 0, 0, byte(u.ms>>16), byte(u.ms>>8), byte(u.ms), byte(u.ms>>24), 0, 0, 0)
	frame := byte(2)
	if u.key {
		frame = 1
	}
	cts := max(u.pts-u.ms, 0)
	b = append(b, frame<<4|flvAVC, packet, byte(cts>>16), byte(cts>>8), byte(cts))
	b = body(b)
	n := len(b) - start - flvTag
	b[start+1], b[start+2], b[start+3] = byte(n>>16), byte(n>>8), byte(n)
	return binary.BigEndian.AppendUint32(b, uint32(n+flvTag))
}

type flvDemuxer struct {
	r     *bufio.Reader
	begun bool
	sets  [][]byte
}

var errFLV = errors.New("malformed FLV")

// next returns the next picture; key frames have the parameter sets before them.
func (d *flvDemuxer) next() (picture, error) {
	if !d.begun {
		var h [13]byte
		if _, err := io.ReadFull(d.r, h[:]); err != nil {
			return picture{}, err
		}
		if string(h[:3]) != "FLV" {
			return picture{}, errFLV
		}
		d.begun = true
	}
	for {
		var h [flvTag]byte
		if _, err := io.ReadFull(d.r, h[:]); err != nil {
			return picture{}, err
		}
		n := int(h[1])<<16 | int(h[2])<<8 | int(h[3])
		body := make([]byte, n+4)
		if _, err := io.ReadFull(d.r, body); err != nil {
			return picture{}, err
		}
		body = body[:n]
		if h[0] != flvVideo {
			continue
		}
		if n < 5 || body[0]&0x0f != flvAVC {
			return picture{}, errFLV
		}
		ms := int64(h[7])<<24 | int64(h[4])<<16 | int64(h[5])<<8 | int64(h[6])
		switch body[1] {
		case avcSequence:
			var err error
			if d.sets, err = avcSets(body[5:]); err != nil {
				return picture{}, err
			}
		case avcNALUs:
			data, err := d.nalus(body[5:], body[0]>>4 == 1)
			if err != nil {
				return picture{}, err
			}
			cts := int64(int32(uint32(body[2])<<24|uint32(body[3])<<16|uint32(body[4])<<8) >> 8)
			return picture{ms: ms + cts, data: data}, nil
		}
	}
}

// nalus splits a unit and leaves out what is no part of the picture: the
// encoder writes its name and options into an SEI.
func (d *flvDemuxer) nalus(b []byte, key bool) ([][]byte, error) {
	var data [][]byte
	if key {
		data = append(data, d.sets...)
	}
	for len(b) > 0 {
		if len(b) < 4 {
			return nil, errFLV
		}
		n := binary.BigEndian.Uint32(b)
		if uint64(n) > uint64(len(b)-4) {
			return nil, errFLV
		}
		if nal := b[4 : 4+n : 4+n]; n > 0 && nal[0]&0x1f <= 5 {
			data = append(data, nal)
		}
		b = b[4+n:]
	}
	return data, nil
}

// avcSets reads an AVCDecoderConfigurationRecord (ISO/IEC 14496-15 section
// 5.3.3.1): the SPS, then the PPS.
func avcSets(b []byte) ([][]byte, error) {
	if len(b) < 6 {
		return nil, errFLV
	}
	var sets [][]byte
	count, b := int(b[5]&0x1f), b[6:]
	for pps := false; ; pps = true {
		for range count {
			if len(b) < 2 {
				return nil, errFLV
			}
			n := int(binary.BigEndian.Uint16(b))
			if n == 0 || len(b) < 2+n {
				return nil, errFLV
			}
			sets = append(sets, b[2:2+n:2+n])
			b = b[2+n:]
		}
		if pps {
			return sets, nil
		}
		if len(b) == 0 {
			return nil, errFLV
		}
		count, b = int(b[0]), b[1:]
	}
}
