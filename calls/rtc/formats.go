package rtc

import (
	"strings"

	"lineout/calls/leg"
	"lineout/codecs"
	"lineout/codecs/g711"
	"lineout/codecs/g722"
	"lineout/codecs/h264"
	"lineout/codecs/opus"
	"lineout/codecs/vp8"
	"lineout/media"
)

// wireFormat is how a codec is written towards browsers (RFC 7874 and RFC 7742
// name those they must have).
type wireFormat struct {
	codec    media.Codec
	kind     media.Kind
	name     string
	clock    int
	channels int
	pt       uint8 // in our offers
	fmtp     string
}

// wireFormats lists what browsers and we can speak, in the order that suits a
// server which records and restreams when nothing else decides: H.264 before
// VP8, because more outputs take it as it is.
//
// Opus comes with forward error correction; without stereo=1 browsers send one
// channel (RFC 7587 section 6.1). G.722 has a clock of 8000 Hz though it samples
// at 16000 (RFC 3551 section 4.5.2).
var wireFormats = []wireFormat{
	{opus.Name, media.Audio, "opus", 48000, 2, 111, "minptime=10;useinbandfec=1"},
	{g722.Name, media.Audio, "G722", 8000, 1, 9, ""},
	{g711.PCMU, media.Audio, "PCMU", 8000, 1, 0, ""},
	{g711.PCMA, media.Audio, "PCMA", 8000, 1, 8, ""},
	{h264.Name, media.Video, "H264", 90000, 1, 102, ""},
	{vp8.Name, media.Video, "VP8", 90000, 1, 96, ""},
}

// eventFormats are the telephone-events browsers know: one for each clock of
// sound, because an event runs on the clock of what it interrupts (RFC 4733
// section 2.4.1).
var eventFormats = []wireFormat{
	{codecs.TelephoneEvent, media.Audio, "telephone-event", 48000, 1, 110, "0-16"},
	{codecs.TelephoneEvent, media.Audio, "telephone-event", 8000, 1, 126, "0-16"},
}

// same says whether a browser's format is this one.
func (f *wireFormat) same(r *remoteFormat) bool {
	return strings.EqualFold(r.name, f.name) && r.clock == f.clock && (f.kind == media.Video || r.channels == f.channels)
}

// formatsOf are those of a kind that the server has a codec for.
func (s *Service) formatsOf(k media.Kind) []wireFormat {
	var out []wireFormat
	for _, f := range wireFormats {
		if f.kind == k && s.table.Get(f.codec) != nil {
			out = append(out, f)
		}
	}
	return out
}

// likeOf is what the other leg has of a kind; nil if it has nothing of it.
func likeOf(like []leg.TrackInfo, k media.Kind) *leg.TrackInfo {
	for i := range like {
		if like[i].Kind == k {
			return &like[i]
		}
	}
	return nil
}

// H.264 towards browsers: what all of them have, constrained baseline of level
// 3.1 (RFC 7742 section 6.2), and what a missing parameter stands for (RFC 6184
// section 8.1).
const (
	commonProfile  = "42e01f"
	missingProfile = "420010"
)

// h264Params are the parameters of a format of H.264 that decide whether two
// sides understand each other.
type h264Params struct {
	mode    string // packetization-mode
	profile string // profile_idc and profile-iop, level_idc
}

func readH264(fmtp string) h264Params {
	p := h264Params{mode: fmtpValue(fmtp, "packetization-mode"), profile: strings.ToLower(fmtpValue(fmtp, "profile-level-id"))}
	if p.mode == "" {
		p.mode = "0"
	}
	if len(p.profile) != 6 || strings.Trim(p.profile, "0123456789abcdef") != "" {
		p.profile = missingProfile
	}
	return p
}

// rank says how well a browser's format suits what the other leg has; less
// than 0 means not at all. Browsers decode any profile they offer and more, so
// of two modes the same counts first (mode 1 may hold fragments, which mode 0
// forbids: RFC 6184 section 5.2) and then the profile.
func (p h264Params) rank(other h264Params) int {
	if p.mode != other.mode {
		return -1
	}
	n := 0
	if p.profile[:2] == other.profile[:2] {
		n += 8
	}
	if p.profile[2:4] == other.profile[2:4] {
		n += 4
	}
	if p.profile[:4] == commonProfile[:4] {
		n += 2
	}
	return n
}

// answer is the fmtp for a browser's format that carries what the other leg
// has: its level is told when the profile is the same, since the level may
// differ by direction and the profile may not (RFC 6184 section 8.2.2).
func (p h264Params) answer(other h264Params) string {
	profile := p.profile
	if other.profile != "" && p.profile[:2] == other.profile[:2] {
		profile = p.profile[:4] + other.profile[4:]
	}
	return h264Fmtp(p.mode, profile)
}

func h264Fmtp(mode, profile string) string {
	return "level-asymmetry-allowed=1;packetization-mode=" + mode + ";profile-level-id=" + profile
}
