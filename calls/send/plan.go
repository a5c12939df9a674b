package send

import (
	"slices"
	"time"

	"lineout/calls/leg"
	"lineout/calls/pack"
	"lineout/codecs"
	"lineout/codecs/h264"
	"lineout/media"
)

// plan is what a leg can be sent at a time.
type plan struct {
	audio, video []media.Codec // best first; empty: nothing may be sent
	formats      map[media.Codec]leg.Format
	packetTime   time.Duration // of sound
}

// packetTime is that of sound when the remote party does not say (RFC 3551
// section 4.2).
const packetTime = 20 * time.Millisecond

// read asks a leg what it takes. Of the sound's formats only those on the
// clock of the first count: a change of the clock would tear the timestamps of
// one RTP stream (RFC 7160 section 3.1).
func read(md leg.Media, table *codecs.Table) *plan {
	p := &plan{formats: map[media.Codec]leg.Format{}, packetTime: packetTime}
	for _, t := range md.Tracks() {
		if !t.Send || len(t.Formats) == 0 {
			continue
		}
		var names []media.Codec
		for _, f := range t.Formats {
			if table.Get(f.Codec) == nil || f.ClockRate != t.Formats[0].ClockRate {
				continue
			}
			if have, twice := p.formats[f.Codec]; !twice {
				names = append(names, f.Codec)
			} else if f.Codec != h264.Name || pack.PacketizationMode(have.Fmtp) == 1 || pack.PacketizationMode(f.Fmtp) != 1 {
				continue
			}
			p.formats[f.Codec] = f
		}
		if t.Kind == media.Video {
			p.video = names
			continue
		}
		p.audio = names
		if t.PacketTime > 0 {
			p.packetTime = t.PacketTime
		}
	}
	return p
}

// same says that what was begun under one plan can go on under the other.
func (p *plan) same(o *plan) bool {
	if p.packetTime != o.packetTime || !slices.Equal(p.audio, o.audio) || !slices.Equal(p.video, o.video) {
		return false
	}
	for c, f := range p.formats {
		if o.formats[c] != f {
			return false
		}
	}
	return true
}
