package sip

import (
	"log/slog"
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

const telephoneEvent = codecs.TelephoneEvent

// wireFormats lists what SIP calls can carry. A codec may stand here more than
// once: H.264 in packetization mode 1 before mode 0 (S2-32), telephone-event
// for both audio clocks because an event runs on the clock of the audio it
// stands for (RFC 4733 section 2.4.1).
var wireFormats = []wireFormat{
	{"alaw", "PCMA", media.Audio, 8, "pcma/8000", 8000, 1, ""},
	{"ulaw", "PCMU", media.Audio, 0, "pcmu/8000", 8000, 1, ""},
	{"opus", "opus", media.Audio, 111, "opus/48000/2", 48000, 2, "useinbandfec=1"},
	{"g722", "G722", media.Audio, 9, "G722/8000", 8000, 1, ""}, // its clock is 8000 though it samples at 16 kHz (RFC 3551 section 4.5.2)
	{"telephone-event", telephoneEvent, media.Audio, 101, "telephone-event/8000", 8000, 1, "0-15"},
	{"telephone-event", telephoneEvent, media.Audio, 110, "telephone-event/48000", 48000, 1, "0-15"},
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
			if f.setting == name && (f.codec == telephoneEvent || table.Get(f.codec) != nil) {
				out, found = append(out, f), true
			}
		}
		if !found {
			unknown = append(unknown, name)
		}
	}
	return dropLoneEvents(out), unknown
}

// dropLoneEvents removes telephone-event formats whose clock no audio codec of
// the list runs on.
func dropLoneEvents(in []wireFormat) []wireFormat {
	clocks := map[int]bool{}
	for _, f := range in {
		if f.kind == media.Audio && f.codec != telephoneEvent {
			clocks[f.clock] = true
		}
	}
	out := in[:0:0]
	for _, f := range in {
		if f.codec != telephoneEvent || clocks[f.clock] {
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

func warnUnknown(log *slog.Logger, unknown []string) {
	if len(unknown) > 0 {
		log.Warn("codecs: some names are not supported in SIP calls and are left out", "codecs", strings.Join(unknown, ","))
	}
}

// same says whether f is what a remote format describes. H.264 matches in any
// packetization mode and profile: one depacketizer reads them all.
func (f *wireFormat) same(r *sdpFormat) bool {
	name, clock, chans := r.name, r.clock, r.chans
	if name == "" { // static payload type without rtpmap (RFC 3551 table 4)
		for i := range wireFormats {
			if w := &wireFormats[i]; w.pt == r.pt && w.pt < 96 {
				name, clock, chans = string(w.codec), w.clock, w.chans
			}
		}
	}
	if !strings.EqualFold(name, string(f.codec)) || clock != f.clock {
		return false
	}
	return f.kind == media.Video || f.codec == telephoneEvent || max(chans, 1) == f.chans
}

// mode is the H.264 packetization mode of a fmtp string; 0 when unsaid (RFC 6184 section 8.1).
func mode(fmtp string) int {
	for _, p := range strings.Split(fmtp, ";") {
		if k, v, _ := strings.Cut(strings.TrimSpace(p), "="); strings.EqualFold(k, "packetization-mode") {
			n, _ := strconv.Atoi(strings.TrimSpace(v))
			return n
		}
	}
	return 0
}
