package rtc

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/pion/sdp/v3"

	"lineout/media"
)

// Bounds on what a browser may send.
const (
	maxSDP          = 64 << 10
	maxSections     = 16
	maxFormats      = 128
	maxFingerprints = 8
	maxAttributes   = 1024 // of a section
)

// description is what a browser's SDP says: its sections in order and the
// transport of the first one that is used.
type description struct {
	sections []*remoteSection
	bundle   []string
}

// remoteSection is one m= line.
type remoteSection struct {
	word         string // "audio", "video", "application", ...
	kind         media.Kind
	mid          string
	refused      bool // port 0, and not because of bundling
	sends, takes bool
	mux, rsize   bool
	formats      []remoteFormat
	extensions   map[string]uint8 // URI to id, of those that fit the one-byte form
	transport    transportInfo
}

// transportInfo is what ICE and DTLS need to know of the browser.
type transportInfo struct {
	ufrag, pwd   string
	fingerprints []string // "sha-256 AB:CD"
	setup        string
}

// remoteFormat is one payload type of a section.
type remoteFormat struct {
	pt       uint8
	name     string
	clock    int
	channels int
	fmtp     string
	feedback []string
}

// parse reads a browser's SDP leniently: pages edit it, so missing fmtp lines
// and dangling references are no fault (websdk-protocol 9). Sizes are bounded.
func parse(text string) (*description, error) {
	if len(text) > maxSDP {
		return nil, fmt.Errorf("the SDP has %d bytes, at most %d are read", len(text), maxSDP)
	}
	// An edit of the SDK can leave a carriage return within a line.
	text = strings.ReplaceAll(text, "\r", "")
	var d sdp.SessionDescription
	if err := d.UnmarshalString(text); err != nil {
		return nil, fmt.Errorf("the SDP cannot be read: %w", err)
	}
	if n := len(d.MediaDescriptions); n == 0 || n > maxSections {
		return nil, fmt.Errorf("the SDP has %d m= lines, wanted are 1 to %d", n, maxSections)
	}
	out := &description{}
	var common transportInfo
	for _, a := range d.Attributes {
		common.take(a)
		if group, ok := strings.CutPrefix(a.Value, "BUNDLE "); a.Key == "group" && ok && out.bundle == nil {
			out.bundle = strings.Fields(group)
		}
	}
	mids := map[string]bool{}
	for _, m := range d.MediaDescriptions {
		s, err := readSection(m, common)
		if err != nil {
			return nil, err
		}
		if s.mid == "" || len(s.mid) > 64 || mids[s.mid] {
			return nil, errors.New("every m= line of the SDP needs a short a=mid of its own")
		}
		mids[s.mid] = true
		out.sections = append(out.sections, s)
	}
	return out, nil
}

// take reads an attribute that may stand in a section or before all of them.
func (t *transportInfo) take(a sdp.Attribute) {
	switch a.Key {
	case "ice-ufrag":
		t.ufrag = a.Value
	case "ice-pwd":
		t.pwd = a.Value
	case "setup":
		t.setup = a.Value
	case "fingerprint":
		if len(t.fingerprints) < maxFingerprints {
			t.fingerprints = append(t.fingerprints, a.Value)
		}
	}
}

// check says what is missing to be connected (RFC 8445 section 5.3 has the
// lengths of credentials, RFC 8842 section 5.1 the rest).
func (t *transportInfo) check() error {
	switch {
	case len(t.ufrag) < 4 || len(t.ufrag) > 256 || len(t.pwd) < 22 || len(t.pwd) > 256:
		return errors.New("the SDP has no usable a=ice-ufrag and a=ice-pwd")
	case len(t.fingerprints) == 0:
		return errors.New("the SDP has no a=fingerprint, and media is only sent encrypted")
	}
	return nil
}

func readSection(m *sdp.MediaDescription, common transportInfo) (*remoteSection, error) {
	if len(m.Attributes) > maxAttributes || len(m.MediaName.Formats) > maxFormats {
		return nil, fmt.Errorf("an m= line of the SDP has more than %d formats or %d attributes", maxFormats, maxAttributes)
	}
	s := &remoteSection{word: m.MediaName.Media, sends: true, takes: true, extensions: map[string]uint8{}, transport: common}
	switch s.word {
	case "audio":
		s.kind = media.Audio
	case "video":
		s.kind = media.Video
	}
	if s.word == "" || strings.ContainsFunc(s.word, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, errors.New("an m= line of the SDP names no kind of media")
	}
	bundleOnly, ownPrint := false, false
	rtpmap, fmtp, feedback := map[string]string{}, map[string]string{}, map[string][]string{}
	for _, a := range m.Attributes {
		pt, rest, _ := strings.Cut(strings.TrimSpace(a.Value), " ")
		rest = strings.TrimSpace(rest)
		switch a.Key {
		case "mid":
			s.mid = a.Value
		case "bundle-only":
			bundleOnly = true
		case "rtcp-mux":
			s.mux = true
		case "rtcp-rsize":
			s.rsize = true
		case "sendonly":
			s.takes = false
		case "recvonly":
			s.sends = false
		case "inactive":
			s.sends, s.takes = false, false
		case "rtpmap":
			rtpmap[pt] = rest
		case "fmtp":
			if fmtp[pt] == "" {
				fmtp[pt] = rest
			}
		case "rtcp-fb":
			feedback[pt] = append(feedback[pt], strings.ToLower(rest))
		case "extmap":
			s.readExtension(pt, rest)
		case "fingerprint": // those of the section replace the common ones
			if !ownPrint {
				s.transport.fingerprints, ownPrint = nil, true
			}
			s.transport.take(a)
		default:
			s.transport.take(a)
		}
	}
	s.refused = m.MediaName.Port.Value == 0 && !bundleOnly
	for _, f := range m.MediaName.Formats {
		pt, err := strconv.ParseUint(f, 10, 7)
		if err != nil || s.kind == 0 {
			continue
		}
		r := remoteFormat{pt: uint8(pt), fmtp: fmtp[f], feedback: append(feedback[f], feedback["*"]...)}
		if r.read(rtpmap[f]) {
			s.formats = append(s.formats, r)
		}
	}
	return s, nil
}

// readExtension takes an a=extmap that fits the one-byte form (RFC 8285
// section 4.2), with the direction left out: what browsers say of those we use
// is both.
func (s *remoteSection) readExtension(id, rest string) {
	id, _, _ = strings.Cut(id, "/")
	uri, _, _ := strings.Cut(rest, " ")
	if n, err := strconv.ParseUint(id, 10, 8); err == nil && n >= 1 && n <= 14 && uri != "" {
		if _, twice := s.extensions[uri]; !twice {
			s.extensions[uri] = uint8(n)
		}
	}
}

// read takes an rtpmap; the static types need none (RFC 3551 section 6).
func (f *remoteFormat) read(rtpmap string) bool {
	if rtpmap == "" {
		rtpmap = map[uint8]string{0: "PCMU/8000", 8: "PCMA/8000", 9: "G722/8000"}[f.pt]
	}
	parts := strings.Split(rtpmap, "/")
	if len(parts) < 2 {
		return false
	}
	var err error
	if f.clock, err = strconv.Atoi(parts[1]); err != nil || f.clock <= 0 {
		return false
	}
	f.channels = 1
	if len(parts) > 2 {
		if f.channels, err = strconv.Atoi(parts[2]); err != nil || f.channels < 1 {
			return false
		}
	}
	f.name = parts[0]
	return f.name != ""
}

func (f *remoteFormat) has(feedback string) bool { return slices.Contains(f.feedback, feedback) }

// fmtpValue is a parameter of an fmtp string, "" if it is not there.
func fmtpValue(fmtp, key string) string {
	for _, kv := range strings.Split(fmtp, ";") {
		if k, v, _ := strings.Cut(strings.TrimSpace(kv), "="); strings.EqualFold(strings.TrimSpace(k), key) {
			return strings.TrimSpace(v)
		}
	}
	return ""
}
