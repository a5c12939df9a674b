package recorder

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"math"
)

// checkWAV is the checker of WAVE, finished or as it grew: RIFF, or RF64 (EBU
// Tech 3306), whose chunks fill the file and agree about the sound's length.
func checkWAV(_ context.Context, r io.ReaderAt, size int64) (*found, error) {
	head := make([]byte, min(size, headerSize))
	if _, err := r.ReadAt(head, 0); err != nil {
		return nil, err
	}
	c := waveCheck{size: size}
	sound, err := c.chunks(head)
	if err != nil {
		return nil, err
	}
	return c.finish(r, sound)
}

// waveCheck is what the chunks of a WAVE file say.
type waveCheck struct {
	scan wavScan
	size int64 // of the file
	// growing is true if there are facts, which finished files have not.
	growing bool
	// riff, data and samples are the sizes the header says.
	riff, data, samples uint64
	large, counted      bool
}

// chunks reads what lies before the sound and returns where that begins.
func (c *waveCheck) chunks(b []byte) (int64, error) {
	if len(b) < 12 || string(b[8:12]) != "WAVE" || string(b[:4]) != "RIFF" && string(b[:4]) != "RF64" {
		return 0, damaged(0, "it does not begin as WAVE")
	}
	c.large, c.riff = string(b[:4]) == "RF64", uint64(binary.LittleEndian.Uint32(b[4:]))
	for at := 12; at+8 <= len(b); {
		id, n := string(b[at:at+4]), int64(binary.LittleEndian.Uint32(b[at+4:]))
		if id == "data" {
			if !c.large {
				c.data = uint64(n)
			}
			return int64(at + 8), nil
		}
		if n+n%2 > int64(len(b)-at-8) {
			return 0, damaged(int64(at), "a chunk %q of %d bytes is announced where %d are left", id, n, len(b)-at-8)
		}
		if !c.chunk(id, b[at+8:at+8+int(n)]) {
			return 0, damaged(int64(at), "the chunk %q is damaged or not expected here", id)
		}
		at += 8 + int(n+n%2)
	}
	return 0, damaged(int64(len(b)), "there is no sound")
}

// chunk takes one of those before the sound.
func (c *waveCheck) chunk(id string, p []byte) bool {
	switch {
	case id == "ds64" && c.large && len(p) == 28:
		c.riff, c.data, c.samples = binary.LittleEndian.Uint64(p), binary.LittleEndian.Uint64(p[8:]), binary.LittleEndian.Uint64(p[16:])
		return binary.LittleEndian.Uint32(p[24:]) == 0
	case id == "fmt " && len(p) == 18:
		c.scan.readFormat(p)
		return c.scan.codec != ""
	case id == "fact" && len(p) == 4:
		n := binary.LittleEndian.Uint32(p)
		if c.counted = true; !c.large {
			c.samples = uint64(n)
		}
		return !c.large || n == math.MaxUint32
	case id == "JUNK" && bytes.HasPrefix(p, factsUUID[:]):
		c.growing = true
		return true
	case id == "JUNK":
		return len(bytes.Trim(p, "\x00")) == 0
	}
	return false
}

// finish compares the sizes with each other and with the file. sound is the
// position of the first sample.
func (c *waveCheck) finish(r io.ReaderAt, sound int64) (*found, error) {
	if c.scan.codec == "" || !c.counted {
		return nil, damaged(12, "its sound is not described")
	}
	if c.data > uint64(c.size-sound) {
		return nil, damaged(sound-4, "%d bytes of sound are announced where %d are left", c.data, c.size-sound)
	}
	n := int64(c.data)
	pad := n % 2
	if c.growing {
		pad = 0 // it comes when the file is finished
	}
	width := int64(waveSize(c.scan.codec, &c.scan.p))
	switch {
	case sound+n+pad != c.size:
		return nil, damaged(sound+n, "%d bytes follow the sound", c.size-sound-n)
	case c.riff != uint64(sound+n+n%2)-8:
		return nil, damaged(4, "the header says %d bytes, there are %d", c.riff, c.size-8)
	case n%width != 0 || c.samples != uint64(n/width):
		return nil, damaged(sound, "%d samples are announced, there are %d bytes of %d each", c.samples, n, width)
	case n == 0:
		return nil, damaged(sound, "it holds no media")
	}
	if pad == 1 {
		var b [1]byte
		if _, err := r.ReadAt(b[:], c.size-1); err != nil || b[0] != 0 {
			return nil, damaged(c.size-1, "what fills up the sound is not zero")
		}
	}
	c.scan.size = n
	return &found{fragmented: c.growing, durationMS: roundMS(c.scan.duration()), tracks: c.scan.contents()}, nil
}
