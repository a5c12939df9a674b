package sip

import (
	"log/slog"
	"slices"
	"strconv"
	"strings"

	"lineout/codecs"
	"lineout/media"
)

// wireFormat is how one codec is written in SDP. The payload types are those
// of S2-30 and RFC 3551; dynamic ones are free choices.
type wireFormat struct {
	setting string // name in the codecs settings
	codec   media.Codec
	kind    media.Kind
	pt      uint8
	rtpmap  string // as in S2-30: G.711 in lower case
	clock   int
	chans   int
	fmtp    string
}

const (
	telephoneEvent = codecs.TelephoneEvent
	comfortNoise   = codecs.ComfortNoise

	// comfortPT is the static payload type of comfort noise (RFC 3389 section 4).
	comfortPT = 13
)

// beside says that the format travels beside an audio codec and is none itself.
func (f *wireFormat) beside() bool { return f.codec == telephoneEvent || f.codec == comfortNoise }

// name is the encoding name SDP has for the format.
func (f *wireFormat) name() string {
	n, _, _ := strings.Cut(f.rtpmap, "/")
	return n
}

// wireFormats lists what SIP calls can carry. A codec may stand here more than
// once: H.264 in packetization mode 1 before mode 0 (S2-32), telephone-event
// for all audio clocks because an event runs on the clock of the audio it
// stands for (RFC 4733 section 2.4.1). Which events is said for one clock only:
// 0 to 15 everybody takes, said or not (RFC 2833 section 3.9).
var wireFormats = []wireFormat{
	{"alaw", "PCMA", media.Audio, 8, "pcma/8000", 8000, 1, ""},
	{"ulaw", "PCMU", media.Audio, 0, "pcmu/8000", 8000, 1, ""},
	{"opus", "opus", media.Audio, 111, "opus/48000/2", 48000, 2, "useinbandfec=1"},
	{"g729", "G729", media.Audio, 18, "G729/8000", 8000, 1, ""}, // no annexb: its silence descriptors are welcome (RFC 4856 section 2.1.9)
	{"speex16", "SPEEX/16000", media.Audio, 98, "SPEEX/16000", 16000, 1, ""},
	{"speex", "SPEEX/8000", media.Audio, 97, "SPEEX/8000", 8000, 1, ""},
	{"cn", comfortNoise, media.Audio, comfortPT, "CN/8000", 8000, 1, ""},
	{"g722", "G722", media.Audio, 9, "G722/8000", 8000, 1, ""}, // its clock is 8000 though it samples at 16 kHz (RFC 3551 section 4.5.2)
	{"telephone-event", telephoneEvent, media.Audio, 101, "telephone-event/8000", 8000, 1, "0-15"},
	{"telephone-event", telephoneEvent, media.Audio, 109, "telephone-event/16000", 16000, 1, ""},
	{"telephone-event", telephoneEvent, media.Audio, 110, "telephone-event/48000", 48000, 1, ""},
	{"h264", "H264", media.Video, 112, "H264/90000", 90000, 0, "packetization-mode=1; profile-level-id=420020"},
	{"h264", "H264", media.Video, 113, "H264/90000", 90000, 0, "packetization-mode=0; profile-level-id=420020"},
	{"vp8", "VP8", media.Video, 114, "VP8/90000", 90000, 0, ""},
}

// selectFormats applies the codecs settings to what the server has. Names that
// mean nothing here are returned for one warning.
func selectFormats(order []string, table *codecs.Table, excludes ...[]string) (out []wireFormat, unknown []string) {
	gone := map[string]bool{}
	for _, list := range excludes {
		for _, n := range list {
			gone[strings.ToLower(strings.TrimSpace(n))] = true
		}
	}
	seen := map[string]bool{}
	for _, name := range order {
		name = strings.ToLower(strings.TrimSpace(name))
		if seen[name] || gone[name] || name == "" {
			continue
		}
		seen[name] = true
		found := false
		for _, f := range wireFormats {
			if f.setting == name && (f.beside() || table.Get(f.codec) != nil) {
				out, found = append(out, f), true
			}
		}
		if !found {
			unknown = append(unknown, name)
		}
	}
	return dropLone(out), unknown
}

// dropLone removes what travels beside a codec if no audio codec of the
// list runs on its clock.
func dropLone(in []wireFormat) []wireFormat {
	clocks := map[int]bool{}
	for _, f := range in {
		if f.kind == media.Audio && !f.beside() {
			clocks[f.clock] = true
		}
	}
	out := in[:0:0]
	for _, f := range in {
		if !f.beside() || clocks[f.clock] {
			out = append(out, f)
		}
	}
	return out
}

func ofKind(in []wireFormat, k media.Kind) []wireFormat {
	var out []wireFormat
	for _, f := range in {
		if f.kind == k {
			out = append(out, f)
		}
	}
	return out
}

// sayLeftOut logs in a line each which names of the codecs setting mean nothing
// to SIP calls, and for which a library is missing.
func sayLeftOut(log *slog.Logger, names []string, table *codecs.Table) {
	var unknown, missing, why []string
	for _, n := range names {
		c, _ := codecs.Named(n)
		err := table.Missing(c)
		if err == nil {
			unknown = append(unknown, n)
			continue
		}
		missing = append(missing, n)
		if text := err.Error(); !slices.Contains(why, text) {
			why = append(why, text)
		}
	}
	if len(unknown) > 0 {
		log.Warn("codecs: some names are not supported in SIP calls and are left out", "codecs", strings.Join(unknown, ","))
	}
	if len(missing) > 0 {
		log.Info("codecs: some need a library that is not installed and are not offered", "codecs", strings.Join(missing, ","), "err", strings.Join(why, "; "))
	}
}

// same says whether f is what a remote format describes. H.264 matches in any
// packetization mode and profile: one depacketizer reads them all.
func (f *wireFormat) same(r *sdpFormat) bool {
	name, clock, chans := r.name, r.clock, r.chans
	if name == "" { // static payload type without rtpmap (RFC 3551 table 4)
		for i := range wireFormats {
			if w := &wireFormats[i]; w.pt == r.pt && w.pt < 96 {
				name, clock, chans = w.name(), w.clock, w.chans
			}
		}
	}
	if !strings.EqualFold(name, f.name()) || clock != f.clock {
		return false
	}
	return f.kind == media.Video || f.beside() || max(chans, 1) == f.chans
}

// parameter is one of those of a fmtp string, "" if it is not there.
func parameter(fmtp, name string) string {
	for _, p := range strings.Split(fmtp, ";") {
		if k, v, _ := strings.Cut(strings.TrimSpace(p), "="); strings.EqualFold(k, name) {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// mode is the H.264 packetization mode of a fmtp string; 0 when unsaid (RFC 6184 section 8.1).
func mode(fmtp string) int {
	n, _ := strconv.Atoi(parameter(fmtp, "packetization-mode"))
	return n
}

// annexB says whether a fmtp string of G.729 allows silence descriptors, as it
// does unless it says no (RFC 4856 section 2.1.9).
func annexB(fmtp string) bool { return !strings.EqualFold(parameter(fmtp, "annexb"), "no") }
