package recorder

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"lineout/codecs/aac"
	"lineout/codecs/h264"
	"lineout/codecs/opus"
	"lineout/codecs/vp8"
	"lineout/media"
)

// maxSample bounds what is believed of one sample.
const maxSample = 64 << 20

// checkSample says what is wrong with a sample of a codec. H.264 has the
// length-prefixed form of ISO/IEC 14496-15 section 5.3.2. first is true for the
// track's first sample.
func checkSample(codec media.Codec, t *SidecarTrack, data []byte, key, first bool) error {
	if len(data) == 0 {
		return errors.New("it is empty")
	}
	switch codec {
	case h264.Name:
		return checkAVC(data, key, first)
	case vp8.Name:
		switch isKey := vp8.Codec.Keyframe([][]byte{data}); {
		case isKey != key:
			return fmt.Errorf("its key frame mark is %v, its content says %v", key, isKey)
		case first && !key:
			return errors.New("the first picture is no key frame")
		}
	case aac.Name:
		// ISO/IEC 14496-3 section 4.5.3.1: at most 6144 bits for each channel.
		if most := 768 * max(t.Channels, 1); len(data) > most {
			return fmt.Errorf("it has %d bytes, more than the %d an AAC frame can have", len(data), most)
		}
	case opus.Name:
		if opus.PacketDuration(data) == 0 {
			return errors.New("it is no Opus packet")
		}
	}
	return nil
}

func checkAVC(data []byte, key, first bool) error {
	idr := false
	for at := 0; at < len(data); {
		if len(data)-at < 5 {
			return fmt.Errorf("%d bytes are left after its last NAL unit", len(data)-at)
		}
		n := int64(binary.BigEndian.Uint32(data[at:]))
		if n == 0 || n > int64(len(data)-at-4) {
			return fmt.Errorf("a NAL unit of %d bytes is announced where %d are left", n, len(data)-at-4)
		}
		nal := data[at+4]
		if kind := nal & 0x1f; nal&0x80 != 0 || kind == 0 || kind > 23 {
			return fmt.Errorf("a NAL unit begins with %#02x, which is none", nal)
		} else if kind == 5 {
			idr = true
		}
		at += 4 + int(n)
	}
	switch {
	case idr != key:
		return fmt.Errorf("its key frame mark is %v, its content says %v", key, idr)
	case first && !key:
		return errors.New("the first picture is no key frame")
	}
	return nil
}

// window reads a file forwards in large pieces.
type window struct {
	r    io.ReaderAt
	size int64
	from int64
	buf  []byte
}

const windowSize = 1 << 20

// at returns n bytes at pos, valid until the next call.
func (w *window) at(pos int64, n int) ([]byte, error) {
	if pos < 0 || n < 0 || n > maxSample || pos > w.size-int64(n) {
		return nil, io.ErrUnexpectedEOF
	}
	if pos < w.from || pos+int64(n) > w.from+int64(len(w.buf)) {
		want := int(min(int64(max(n, windowSize)), w.size-pos))
		if cap(w.buf) < want {
			w.buf = make([]byte, want)
		}
		w.buf, w.from = w.buf[:want], pos
		if _, err := w.r.ReadAt(w.buf, pos); err != nil {
			w.buf = w.buf[:0]
			return nil, err
		}
	}
	return w.buf[pos-w.from:][:n], nil
}
