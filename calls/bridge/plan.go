package bridge

import (
	"fmt"
	"strings"
	"time"

	"lineout/calls/leg"
	"lineout/calls/pack"
	"lineout/codecs"
	"lineout/media"
)

// treatment is what is done to the packets of a payload type.
type treatment uint8

const (
	drop    treatment = iota
	pass              // as they are, under another payload type
	event             // a telephone-event, with its duration on another clock
	noise             // a description of silence (RFC 3389)
	convert           // into another codec
)

// route is where the packets of one payload type go.
type route struct {
	how treatment
	pt  uint8 // of the other leg
	// hz and outHz are the clock rates of an event and of what it becomes.
	hz, outHz int
	codec     media.Codec
	channels  int
	converter *codecs.Converter
}

// plan says what is done with the packets of one kind in one direction. Plans
// are compared as a whole, and never changed.
type plan struct {
	idle       bool // there is nothing to send, ever
	open       bool // the other leg may be sent something
	events     bool
	routes     [128]route
	out        leg.Format // what is converted into
	outEvent   leg.Format // telephone-events beside it, if its Codec is set
	outNoise   uint8      // comfort noise beside it, if outCN
	outCN      bool
	packetTime time.Duration
	reason     string
}

// usualPacket is the length of sound in a packet when the other party does not
// say (RFC 3551 section 4.2).
const usualPacket = 20 * time.Millisecond

var words = map[media.Kind]string{media.Audio: "sound", media.Video: "picture"}

// makePlan reads what two legs have agreed on.
func makePlan(table *codecs.Table, k media.Kind, from, to []leg.TrackInfo) *plan {
	p := &plan{packetTime: usualPacket}
	in, out := track(from, k), track(to, k)
	switch {
	case in == nil:
		p.idle = true
		p.reason = fmt.Sprintf("%s is not sent: the source has none", words[k])
		return p
	case out == nil || len(out.Formats) == 0:
		p.reason = fmt.Sprintf("%s is not sent: the other side takes none", words[k])
		return p
	case !out.Send:
		p.reason = fmt.Sprintf("%s is not sent: the other side is on hold or does not receive", words[k])
		return p
	}
	p.open = true
	if out.PacketTime > 0 {
		p.packetTime = out.PacketTime
	}
	p.choose(table, in, out)
	if k == media.Audio {
		p.beside(in, out)
	}
	return p
}

func track(tracks []leg.TrackInfo, k media.Kind) *leg.TrackInfo {
	for i := range tracks {
		if tracks[i].Kind == k {
			return &tracks[i]
		}
	}
	return nil
}

// choose finds a way for each format the source may use.
func (p *plan) choose(table *codecs.Table, in, out *leg.TrackInfo) {
	var accepts []media.Codec
	for _, f := range out.Formats {
		accepts = append(accepts, f.Codec)
	}
	for i := range in.Formats {
		f := &in.Formats[i]
		r := &p.routes[f.PayloadType&0x7f]
		if r.how != drop {
			continue
		}
		why := ""
		if to := same(f, out.Formats); to != nil {
			*r = route{how: pass, pt: to.PayloadType, codec: f.Codec}
			why = fmt.Sprintf("%s is passed on as it is (%s%s)", words[in.Kind], f.Codec, mismatch(f, to))
		} else if c, err := table.Plan(f.Codec, accepts, false); err != nil {
			why = fmt.Sprintf("%s in %s is not sent: the other side takes only %s: %v", words[in.Kind], f.Codec, list(out.Formats), err)
		} else {
			to := first(out.Formats, c.To)
			if p.out.Codec == "" {
				p.out = *to
			}
			if p.out == *to { // one RTP stream has one format that is made here
				*r = route{how: convert, pt: to.PayloadType, hz: f.ClockRate, codec: f.Codec, channels: f.Channels, converter: c}
				why = fmt.Sprintf("%s is converted from %s to %s because the other side does not take %s (but %s)", words[in.Kind], f.Codec, c.To, f.Codec, list(out.Formats))
			}
		}
		if p.reason == "" {
			p.reason = why
		}
	}
	if p.out.Codec == "" {
		p.out = out.Formats[0]
	}
}

// beside finds the ways for what travels beside sound.
func (p *plan) beside(in, out *leg.TrackInfo) {
	for _, e := range out.Events {
		if p.outEvent.Codec == "" || e.ClockRate == p.out.ClockRate && p.outEvent.ClockRate != e.ClockRate {
			p.outEvent = e
		}
	}
	for _, e := range in.Events {
		r := &p.routes[e.PayloadType&0x7f]
		if r.how != drop || len(out.Events) == 0 {
			continue
		}
		to := p.outEvent
		for _, o := range out.Events {
			if o.ClockRate == e.ClockRate && p.passes() {
				to = o
			}
		}
		*r = route{how: event, pt: to.PayloadType, hz: e.ClockRate, outHz: to.ClockRate}
		p.events = true
	}
	if len(out.Noise) > 0 && (p.out.ClockRate == noiseRate || p.passes()) {
		p.outCN, p.outNoise = true, out.Noise[0]
	}
	for _, pt := range in.Noise {
		if r := &p.routes[pt&0x7f]; r.how == drop && p.outCN {
			*r = route{how: noise, pt: p.outNoise, hz: noiseRate}
		}
	}
}

// noiseRate is the clock in Hz of the payload types in TrackInfo.Noise.
const noiseRate = 8000

// passes says that something goes as it is.
func (p *plan) passes() bool {
	for i := range p.routes {
		if p.routes[i].how == pass {
			return true
		}
	}
	return false
}

// same finds the format of the other leg that a packet of f can be sent as: of
// H.264, the one with the packetization mode and profile if there is.
func same(f *leg.Format, formats []leg.Format) *leg.Format {
	var best *leg.Format
	score := -1
	for i := range formats {
		o := &formats[i]
		if o.Codec != f.Codec || o.ClockRate != f.ClockRate || max(o.Channels, 1) != max(f.Channels, 1) {
			continue
		}
		n := 0
		if pack.PacketizationMode(o.Fmtp) == pack.PacketizationMode(f.Fmtp) {
			n += 2
		}
		if profile(o.Fmtp) == profile(f.Fmtp) {
			n++
		}
		if n > score {
			best, score = o, n
		}
	}
	return best
}

func profile(fmtp string) string {
	p := strings.ToLower(pack.Parameter(fmtp, "profile-level-id"))
	return p[:min(len(p), 2)]
}

// mismatch says what the other side has not said it can decode. It is sent all
// the same: phones understate, and there is nothing better to send.
func mismatch(f, to *leg.Format) string {
	if f.Codec != "H264" {
		return ""
	}
	switch {
	case pack.PacketizationMode(f.Fmtp) > pack.PacketizationMode(to.Fmtp):
		return ", although the other side agreed to packetization mode 0"
	case profile(f.Fmtp) > profile(to.Fmtp) && profile(to.Fmtp) != "":
		return ", although the other side agreed to profile " + profile(to.Fmtp) + " only"
	}
	return ""
}

func first(formats []leg.Format, c media.Codec) *leg.Format {
	for i := range formats {
		if formats[i].Codec == c {
			return &formats[i]
		}
	}
	return &formats[0]
}

func list(formats []leg.Format) string {
	var out []string
	for _, f := range formats {
		if !strings.Contains(strings.Join(out, " "), string(f.Codec)) {
			out = append(out, string(f.Codec))
		}
	}
	return strings.Join(out, ", ")
}
