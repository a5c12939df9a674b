package sip

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"lineout/calls/leg"
	"lineout/media"
)

const (
	// likeMost bounds how many formats of pictures are offered for another leg: a
	// browser names one codec in many profiles, and an INVITE has to be short.
	likeMost = 6
	// likePT is the payload type of the first of them.
	likePT = 112
)

// trackOf finds a kind, nil if it is not there.
func trackOf(tracks []leg.TrackInfo, k media.Kind) *leg.TrackInfo {
	for i := range tracks {
		if tracks[i].Kind == k {
			return &tracks[i]
		}
	}
	return nil
}

// alike is what a section offers and takes when its packets are to be passed on
// to another leg and the other way: sound in any codec, that leg's before others;
// pictures only as that leg has them.
func alike(ours []wireFormat, like *leg.TrackInfo) []wireFormat {
	switch {
	case like == nil:
		return nil
	case like.Kind == media.Audio:
		out := slices.Clone(ours)
		slices.SortStableFunc(out, func(a, b wireFormat) int { return cmp.Compare(rank(like, &a), rank(like, &b)) })
		return out
	}
	var out []wireFormat
	for i := range like.Formats {
		f := &like.Formats[i]
		at := slices.IndexFunc(ours, func(w wireFormat) bool { return w.codec == f.Codec && w.clock == f.ClockRate })
		if at < 0 {
			continue
		}
		w := ours[at]
		w.pt, w.fmtp = uint8(likePT+len(out)), parametersLike(f)
		if !slices.ContainsFunc(out, func(o wireFormat) bool { return o.codec == w.codec && o.fmtp == w.fmtp }) {
			out = append(out, w)
		}
		if len(out) == likeMost {
			break
		}
	}
	return out
}

// rank is the place of a format's codec in another leg's preference.
func rank(like *leg.TrackInfo, f *wireFormat) int {
	for i, l := range like.Formats {
		if !f.beside() && l.Codec == f.codec && l.ClockRate == f.clock {
			return i
		}
	}
	return len(like.Formats)
}

// parametersLike are what of another leg's parameters says whether packets can
// be passed on (RFC 6184 section 8.2.2).
func parametersLike(f *leg.Format) string {
	if f.Codec != "H264" {
		return ""
	}
	out := fmt.Sprintf("packetization-mode=%d; profile-level-id=%s", mode(f.Fmtp), cmp.Or(profileLevel(f.Fmtp), "420020"))
	if parameter(f.Fmtp, "level-asymmetry-allowed") == "1" {
		out += "; level-asymmetry-allowed=1"
	}
	return out
}

// profileLevel is the profile-level-id of a fmtp string, "" if there is none
// that can be read.
func profileLevel(fmtp string) string {
	p := strings.ToLower(parameter(fmtp, "profile-level-id"))
	if len(p) != 6 || strings.Trim(p, "0123456789abcdef") != "" {
		return ""
	}
	return p
}

// favour puts first what can be passed on to another leg as it is: its codecs,
// and of H.264 its packetization mode and profile.
func (a *agreement) favour(like *leg.TrackInfo) {
	if like == nil {
		return
	}
	a.alike = true
	slices.SortStableFunc(a.formats, func(x, y leg.Format) int { return cmp.Compare(distance(like, &x), distance(like, &y)) })
	a.sendPT = a.formats[0].PayloadType
	a.send = a.byPT[a.sendPT]
}

// distance is 0 for what the other leg likes best and has just so.
func distance(like *leg.TrackInfo, f *leg.Format) int {
	best := 4 * len(like.Formats)
	for i := range like.Formats {
		l := &like.Formats[i]
		if l.Codec != f.Codec || l.ClockRate != f.ClockRate {
			continue
		}
		d := 4 * i
		if f.Codec == "H264" && mode(l.Fmtp) != mode(f.Fmtp) {
			d += 2
		}
		if f.Codec == "H264" && !sameProfile(l.Fmtp, f.Fmtp) {
			d++
		}
		best = min(best, d)
	}
	return best
}

// sameProfile compares profiles without levels and constraints.
func sameProfile(a, b string) bool {
	x, y := profileLevel(a), profileLevel(b)
	return x == "" || y == "" || x[:2] == y[:2]
}

// track describes the agreement for others.
func (a *agreement) track(k media.Kind, receive, send bool) leg.TrackInfo {
	return leg.TrackInfo{Kind: k, Formats: a.formats, Noise: a.noise, Events: a.events, PacketTime: a.ptime, Receive: receive, Send: send}
}
