package sip

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"lineout/calls/leg"
	"lineout/media"
)

// payload says what one payload type carries; the zero value is "not agreed".
type payload struct {
	codec media.Codec
	clock int
	event bool
}

// comfort is what describes silence (RFC 3389): no sound, but said of a track's.
var comfort = payload{codec: comfortNoise, clock: 8000}

// agreement is the outcome of offer and answer for one section.
type agreement struct {
	formats []leg.Format // what the peer may send
	sendPT  uint8        // payload type we send audio or video with
	send    payload
	eventPT uint8 // payload type of telephone-events we send, 0 if none
	event   payload
	noise   []uint8 // payload types of comfort noise at 8000 Hz
	events  []leg.Format
	alike   bool // the section is to be joined to another leg's
	byPT    [128]payload
	ptime   time.Duration // what the peer would like, 0 if it does not say
}

// agree matches a peer's section with our formats. weOffered says that the
// peer answered: then it may also send with the payload types of our offer
// (RFC 3264 section 5.1), which peers that renumber in fact do.
func agree(m *sdpMedia, ours []wireFormat, weOffered bool) (*agreement, bool) {
	a := &agreement{ptime: m.ptime}
	for i := range m.formats {
		r := &m.formats[i]
		f := match(r, ours)
		if a.byPT[r.pt].codec != "" {
			continue // named twice
		}
		if strings.EqualFold(r.name, string(comfortNoise)) || f != nil && f.codec == comfortNoise {
			a.byPT[r.pt] = comfort
			if r.name == "" || r.clock == comfort.clock {
				a.noise = append(a.noise, r.pt)
			}
			continue
		}
		if f == nil {
			continue
		}
		p := payload{codec: f.codec, clock: f.clock, event: f.codec == telephoneEvent}
		a.byPT[r.pt] = p
		if p.event {
			a.events = append(a.events, leg.Format{PayloadType: r.pt, Codec: f.codec, ClockRate: f.clock, Channels: f.chans, Fmtp: r.fmtp})
			continue
		}
		if len(a.formats) == 0 {
			a.sendPT, a.send = r.pt, p
		}
		a.formats = append(a.formats, leg.Format{PayloadType: r.pt, Codec: f.codec, ClockRate: f.clock, Channels: f.chans, Fmtp: r.fmtp})
	}
	if len(a.formats) == 0 {
		return nil, false
	}
	a.chooseEvent(m)
	if weOffered {
		a.alias(ours)
	}
	// Phones send it without having said so; taken for nothing, it would look like a loss.
	if m.kind == media.Audio && a.byPT[comfortPT].codec == "" {
		a.byPT[comfortPT] = comfort
		a.noise = append(a.noise, comfortPT)
	}
	return a, true
}

// match finds our format for a peer's; of two H.264 modes the one that says the same.
func match(r *sdpFormat, ours []wireFormat) *wireFormat {
	var found *wireFormat
	for i := range ours {
		f := &ours[i]
		if !f.same(r) {
			continue
		}
		if found == nil || f.kind == media.Video && mode(f.fmtp) == mode(r.fmtp) && mode(found.fmtp) != mode(r.fmtp) {
			found = f
		}
	}
	return found
}

// chooseEvent picks the telephone-event on the clock of the audio, else any.
func (a *agreement) chooseEvent(m *sdpMedia) {
	for i := range m.formats {
		p := a.byPT[m.formats[i].pt]
		if p.event && (a.event.codec == "" || p.clock == a.send.clock && a.event.clock != p.clock) {
			a.eventPT, a.event = m.formats[i].pt, p
		}
	}
}

// prefer puts a codec first if it is among the agreed ones: what is in use
// stays in use.
func (a *agreement) prefer(c media.Codec) {
	for i, f := range a.formats {
		if f.Codec == c {
			copy(a.formats[1:], a.formats[:i])
			a.formats[0] = f
			a.sendPT, a.send = f.PayloadType, a.byPT[f.PayloadType]
			return
		}
	}
}

// alias adds the payload types of our offer for codecs the peer agreed to.
func (a *agreement) alias(ours []wireFormat) {
	for _, f := range ours {
		if a.byPT[f.pt].codec != "" {
			continue
		}
		for _, g := range a.formats {
			if g.Codec == f.codec {
				a.byPT[f.pt] = payload{codec: f.codec, clock: f.clock}
				a.formats = append(a.formats, leg.Format{PayloadType: f.pt, Codec: f.codec, ClockRate: f.clock, Channels: f.chans, Fmtp: f.fmtp})
				break
			}
		}
	}
}

// echo is the format list of an answer of ours: the peer's numbers, our names.
func (a *agreement) echo(m *sdpMedia, ours []wireFormat) []localFormat {
	var out []localFormat
	for i := range m.formats {
		r := &m.formats[i]
		p := a.byPT[r.pt]
		if p.codec == "" {
			continue
		}
		f := match(r, ours)
		if f == nil {
			continue
		}
		fmtp := f.fmtp
		if f.codec == "G729" && !annexB(r.fmtp) {
			fmtp = "annexb=no" // an answer must say so too (RFC 7261 section 3.1)
		}
		if f.codec == "H264" {
			profile := "420020"
			if a.alike { // packets are passed on as they are
				profile = cmp.Or(profileLevel(r.fmtp), profile)
			}
			fmtp = "packetization-mode=" + strconv.Itoa(mode(r.fmtp)) + "; profile-level-id=" + profile
		}
		l := localFormat{r.pt, f.rtpmap, fmtp}
		if r.pt == a.sendPT {
			out = slices.Insert(out, 0, l) // what is in use is what we like best
		} else {
			out = append(out, l)
		}
	}
	return out
}
