package local

import (
	"slices"
	"strings"

	"lineout/calls/leg"
	"lineout/media"
)

// everything is what a side has that is no leg: a stream, for one.
var everything = []leg.TrackInfo{
	{Kind: media.Audio, Formats: []leg.Format{
		{PayloadType: 8, Codec: "PCMA", ClockRate: 8000, Channels: 1}, {PayloadType: 0, Codec: "PCMU", ClockRate: 8000, Channels: 1},
		{PayloadType: 111, Codec: "opus", ClockRate: 48000, Channels: 2, Fmtp: "useinbandfec=1"}, {PayloadType: 9, Codec: "G722", ClockRate: 8000, Channels: 1}}},
	{Kind: media.Video, Formats: []leg.Format{
		{PayloadType: 112, Codec: "H264", ClockRate: 90000, Fmtp: "packetization-mode=1; profile-level-id=42e01f"}, {PayloadType: 114, Codec: "VP8", ClockRate: 90000}}},
}

// tracksOf is what a side has: like, or everything, which it receives in any
// case and sends if it said so.
func tracksOf(like []leg.TrackInfo, audio, video bool) []leg.TrackInfo {
	if like != nil {
		return like
	}
	out := slices.Clone(everything)
	for i := range out {
		out[i].Send = true
		out[i].Receive = out[i].Kind == media.Audio && audio || out[i].Kind == media.Video && video
	}
	return out
}

// agreement is one kind that both sides have. Payload types are the caller's.
type agreement struct {
	kind             media.Kind
	formats          []leg.Format
	noise            []uint8
	toCaller, toUser bool           // who is sent something
	caller, user     *leg.TrackInfo // what the two sides have
}

// negotiate finds what both sides have. The two are described as legs that this
// server sends to and receives from. Sound without a common codec is agreed on in
// the caller's codecs, to be converted for the user; pictures are not.
func negotiate(r leg.Request, t leg.Terms) []agreement {
	var out []agreement
	users := tracksOf(t.Like, t.SendAudio, t.SendVideo)
	for _, caller := range tracksOf(r.Like, r.SendAudio, r.SendVideo) {
		i := slices.IndexFunc(users, func(u leg.TrackInfo) bool { return u.Kind == caller.Kind })
		if i < 0 || slices.ContainsFunc(out, func(a agreement) bool { return a.kind == caller.Kind }) {
			continue
		}
		user := users[i]
		a := agreement{kind: caller.Kind, caller: &caller, user: &user,
			toUser: caller.Receive && user.Send, toCaller: user.Receive && caller.Send}
		a.formats = common(caller.Formats, user.Formats)
		if a.kind == media.Audio {
			for _, f := range caller.Formats {
				if !slices.Contains(a.formats, f) {
					a.formats = append(a.formats, f)
				}
			}
		}
		if len(user.Noise) > 0 {
			a.noise = caller.Noise
		}
		if len(a.formats) > 0 {
			out = append(out, a)
		}
	}
	return out
}

// common are the formats of a that b has, those first that b likes best; of H.264,
// those in the same packetization mode and profile.
func common(a, b []leg.Format) []leg.Format {
	var exact, rest []leg.Format
	for _, want := range b {
		for _, f := range a {
			switch {
			case f.Codec != want.Codec || f.ClockRate != want.ClockRate || slices.Contains(exact, f) || slices.Contains(rest, f):
			case f.Codec == "H264" && shape(f.Fmtp) != shape(want.Fmtp):
				rest = append(rest, f)
			default:
				exact = append(exact, f)
			}
		}
	}
	for _, f := range rest { // a profile nobody else has is better than no picture
		if !slices.ContainsFunc(exact, func(e leg.Format) bool { return e.Codec == f.Codec }) {
			exact = append(exact, f)
		}
	}
	return exact
}

// shape is what of H.264's parameters says whether packets can be passed on.
func shape(fmtp string) string {
	mode, profile := "0", ""
	for _, p := range strings.Split(strings.ToLower(fmtp), ";") {
		switch k, v, _ := strings.Cut(strings.TrimSpace(p), "="); k {
		case "packetization-mode":
			mode = v
		case "profile-level-id":
			profile = v[:min(len(v), 2)]
		}
	}
	return mode + " " + profile
}
