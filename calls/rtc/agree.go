package rtc

import (
	"slices"

	"lineout/calls/leg"
	"lineout/codecs/h264"
	"lineout/media"
)

// transportCC is the header extension that congestion control of browsers
// counts packets by (draft-holmer-rmcat-transport-wide-cc-extensions-01).
const transportCC = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"

// agreement is what both sides will use of one section.
type agreement struct {
	kind          media.Kind
	mid           string
	formats       []agreedFormat // the order is ours when we answer, the browser's when it does
	events        []agreedFormat
	send, receive bool
	rsize         bool
	twcc          uint8 // id of transportCC, 0 without it
}

// agreedFormat is one payload type of an agreement.
type agreedFormat struct {
	*wireFormat
	pt       uint8
	theirs   string // the browser's fmtp
	ours     string // that of our SDP
	feedback []string
}

// usable says whether a section can carry media of ours at all.
func (r *remoteSection) usable() bool {
	return r.kind != 0 && !r.refused && (r.sends || r.takes) && r.mux && len(r.formats) > 0
}

// agree finds what a browser's section and we have in common; nil if nothing
// that makes sense. With joined, like is what the leg on the other side has of
// the kind, nil if nothing.
func (s *Service) agree(r *remoteSection, joined bool, like *leg.TrackInfo) *agreement {
	if !r.usable() || joined && like == nil {
		return nil
	}
	a := &agreement{kind: r.kind, mid: r.mid, receive: r.sends, send: r.takes, rsize: r.rsize, twcc: r.extensions[transportCC]}
	known := s.formatsOf(r.kind)
	used := map[uint8]bool{}
	add := func(f *remoteFormat, w *wireFormat, other h264Params) {
		if f == nil || used[f.pt] {
			return
		}
		used[f.pt] = true
		ours := w.fmtp
		if w.codec == h264.Name {
			ours = readH264(f.fmtp).answer(other)
		}
		a.formats = append(a.formats, agreedFormat{wireFormat: w, pt: f.pt, theirs: f.fmtp, ours: ours, feedback: common(f)})
	}
	if like != nil {
		for _, l := range like.Formats {
			for i := range known {
				w := &known[i]
				if w.codec != l.Codec || w.clock != l.ClockRate {
					continue
				}
				other := readH264(l.Fmtp)
				add(best(r.formats, w, &other), w, other)
			}
		}
	}
	if like == nil || r.kind == media.Audio {
		for _, w := range preferred(known, r) {
			add(best(r.formats, w, nil), w, h264Params{})
		}
	}
	if len(a.formats) == 0 {
		return nil
	}
	a.addEvents(r)
	return a
}

// preferred orders sound as the browser does, pictures as wireFormats does.
func preferred(known []wireFormat, r *remoteSection) []*wireFormat {
	var out []*wireFormat
	for i := range known {
		out = append(out, &known[i])
	}
	if r.kind == media.Audio {
		place := func(w *wireFormat) int {
			return slices.IndexFunc(r.formats, func(f remoteFormat) bool { return w.same(&f) })
		}
		slices.SortStableFunc(out, func(a, b *wireFormat) int { return place(a) - place(b) })
	}
	return out
}

// best is the browser's format that suits a codec and, of H.264, what the other
// leg has of it (nil: nobody yet, so that mode 1 and the common profile are
// taken). nil if there is none.
func best(formats []remoteFormat, w *wireFormat, other *h264Params) *remoteFormat {
	var found *remoteFormat
	top := -1
	for i := range formats {
		f := &formats[i]
		if !w.same(f) {
			continue
		}
		rank := 0
		if w.codec == h264.Name {
			if p := readH264(f.fmtp); other != nil {
				rank = p.rank(*other)
			} else if rank = p.rank(h264Params{mode: "1", profile: commonProfile}); rank < 0 {
				rank = 0 // mode 0 is better than nothing
			}
		}
		if rank > top {
			found, top = f, rank
		}
	}
	return found
}

// common is the feedback of a format that we know.
func common(f *remoteFormat) []string {
	var out []string
	for _, fb := range []string{"transport-cc", "ccm fir", "nack", "nack pli"} {
		if f.has(fb) {
			out = append(out, fb)
		}
	}
	return out
}

// addEvents takes the telephone-events that go with the sound agreed on.
func (a *agreement) addEvents(r *remoteSection) {
	for i := range eventFormats {
		w := &eventFormats[i]
		fits := slices.ContainsFunc(a.formats, func(f agreedFormat) bool { return f.kind == media.Audio && f.clock == w.clock })
		if f := best(r.formats, w, nil); f != nil && fits {
			a.events = append(a.events, agreedFormat{wireFormat: w, pt: f.pt, theirs: f.fmtp, ours: w.fmtp})
		}
	}
}

// feedback says whether all formats have a kind of feedback.
func (a *agreement) has(feedback string) bool {
	return !slices.ContainsFunc(a.formats, func(f agreedFormat) bool { return !slices.Contains(f.feedback, feedback) })
}

// info is the agreement as the other side of the contract sees it.
func (a *agreement) info() leg.TrackInfo {
	t := leg.TrackInfo{Kind: a.kind, Receive: a.receive, Send: a.send}
	for _, f := range a.formats {
		t.Formats = append(t.Formats, f.format())
	}
	for _, f := range a.events {
		t.Events = append(t.Events, f.format())
	}
	return t
}

func (f *agreedFormat) format() leg.Format {
	return leg.Format{PayloadType: f.pt, Codec: f.codec, ClockRate: f.clock, Channels: f.channels, Fmtp: f.theirs}
}

// offering is the agreement as we propose it for a kind of what like has; nil
// if we know nothing of it.
func (s *Service) offering(like *leg.TrackInfo, mid string) *agreement {
	a := &agreement{kind: like.Kind, mid: mid, send: true, receive: true, rsize: true, twcc: 3}
	known := s.formatsOf(like.Kind)
	pt := map[uint8]bool{}
	add := func(w *wireFormat, fmtp string) {
		f := agreedFormat{wireFormat: w, pt: w.pt, ours: fmtp, feedback: []string{"transport-cc"}}
		if w.kind == media.Video {
			f.feedback = []string{"transport-cc", "ccm fir", "nack", "nack pli"}
		}
		for pt[f.pt] { // another form of the same codec
			f.pt++
		}
		pt[f.pt] = true
		a.formats = append(a.formats, f)
	}
	for _, l := range like.Formats {
		for i := range known {
			w := &known[i]
			if w.codec != l.Codec || w.clock != l.ClockRate || w.codec != h264.Name && pt[w.pt] {
				continue
			}
			if w.codec != h264.Name {
				add(w, w.fmtp)
				continue
			}
			for _, fmtp := range h264Offers(readH264(l.Fmtp)) {
				if !slices.ContainsFunc(a.formats, func(f agreedFormat) bool { return f.ours == fmtp }) {
					add(w, fmtp)
				}
			}
		}
	}
	if like.Kind == media.Audio {
		for i := range known {
			if w := &known[i]; !pt[w.pt] {
				add(w, w.fmtp)
			}
		}
	}
	if len(a.formats) == 0 {
		return nil
	}
	for i := range eventFormats {
		w := &eventFormats[i]
		if slices.ContainsFunc(a.formats, func(f agreedFormat) bool { return f.kind == media.Audio && f.clock == w.clock }) {
			a.events = append(a.events, agreedFormat{wireFormat: w, pt: w.pt, ours: w.fmtp})
		}
	}
	return a
}

// h264Offers are the fmtps under which a browser is offered what the other leg
// has: the profile all browsers have first, then its own.
func h264Offers(other h264Params) []string {
	level := other.profile[4:]
	out := []string{h264Fmtp(other.mode, commonProfile[:4]+level)}
	if own := h264Fmtp(other.mode, other.profile); own != out[0] {
		out = append(out, own)
	}
	return out
}
