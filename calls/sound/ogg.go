package sound

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"lineout/codecs/opus"
	"lineout/media"
)

// packetMax bounds an Opus packet: 120 ms at the highest rate is a tenth of it.
const packetMax = 64 << 10

// coded is the track of an Opus file.
func coded() *media.Track {
	t := &media.Track{ID: "audio", Kind: media.Audio, Codec: opus.Name, ClockRate: opus.ClockRate, Channels: 2}
	t.SetParams(opus.Codec.Params(nil, nil))
	return t
}

// ogg reads the packets of the first logical stream of an Ogg file (RFC 3533),
// which must be Opus of one or two channels (RFC 7845).
type ogg struct {
	io.Closer
	r      io.Reader
	serial uint32
	begun  bool
	lacing []byte // of the page, not used yet
	packet []byte
	table  [255]byte
}

func newOgg(r io.Reader, c io.Closer) (*ogg, error) {
	o := &ogg{r: r, Closer: c}
	head, err := o.read()
	if err != nil || len(head) < 19 || string(head[:8]) != "OpusHead" || head[8]>>4 != 0 || head[18] != 0 {
		return nil, errors.New("it is an Ogg file but not Opus of one or two channels")
	}
	if tags, err := o.read(); err != nil || len(tags) < 8 || string(tags[:8]) != "OpusTags" {
		return nil, errors.New("it is an Ogg Opus file without its second header")
	}
	return o, nil
}

// next leaves out packets that are no sound.
func (o *ogg) next() ([]byte, time.Duration, error) {
	for {
		p, err := o.read()
		if err != nil {
			return nil, 0, err
		}
		if d := opus.PacketDuration(p); d > 0 {
			return p, d, nil
		}
	}
}

// read puts one packet together from segments, which may go over several pages.
func (o *ogg) read() ([]byte, error) {
	o.packet = o.packet[:0]
	for {
		for len(o.lacing) == 0 {
			if err := o.page(); err != nil {
				return nil, err
			}
		}
		n := int(o.lacing[0])
		o.lacing = o.lacing[1:]
		at := len(o.packet)
		if at+n > packetMax {
			return nil, fmt.Errorf("an Ogg packet is longer than %d bytes", packetMax)
		}
		o.packet = append(o.packet, make([]byte, n)...)
		if _, err := io.ReadFull(o.r, o.packet[at:]); err != nil {
			return nil, end(err)
		}
		if n < 255 {
			return o.packet, nil
		}
	}
}

// page reads a page's header. Pages of other logical streams are left out.
func (o *ogg) page() error {
	for {
		var h [27]byte
		if _, err := io.ReadFull(o.r, h[:]); err != nil {
			return end(err)
		}
		if string(h[:4]) != "OggS" || h[4] != 0 {
			return errors.New("an Ogg page does not begin where it should")
		}
		lacing := o.table[:h[26]]
		if _, err := io.ReadFull(o.r, lacing); err != nil {
			return end(err)
		}
		if serial := binary.LittleEndian.Uint32(h[14:]); !o.begun || serial == o.serial {
			o.begun, o.serial, o.lacing = true, serial, lacing
			return nil
		}
		size := int64(0)
		for _, n := range lacing {
			size += int64(n)
		}
		if _, err := io.CopyN(io.Discard, o.r, size); err != nil {
			return end(err)
		}
	}
}

// end takes a file that is cut short for one that ends there.
func end(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return io.EOF
	}
	return err
}
