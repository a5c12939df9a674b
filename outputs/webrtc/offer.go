package webrtc

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/pion/sdp/v3"

	"lineout/api/fault"
	"lineout/codecs/h264"
	"lineout/media"
)

// Bounds on what a player may send.
const (
	maxOffer    = 64 << 10
	maxSections = 16
)

// offer is what a player asked for: its sections in order.
type offer struct {
	desc     *sdp.SessionDescription
	sections []*section
	active   bool // the player insists on a DTLS server (setup:passive)
}

// section is one m= line of an offer.
type section struct {
	media *sdp.MediaDescription
	mid   string
	kind  media.Kind // 0: neither audio nor video
	// wants is false when the player cannot or will not receive on it.
	wants  bool
	codecs []offered
	chosen *offered // nil: rejected
	// extension is the id of playout-delay in the answer, 0 without it.
	extension uint8
}

// offered is one payload type of a section.
type offered struct {
	pt       uint8
	name     string
	clock    int
	channels int
	fmtp     string
	feedback []string
}

func badOffer(format string, args ...any) error {
	return &PlayError{Info: ByError, Code: fault.BadRequest, Err: fmt.Errorf("cannot use the player's SDP offer: "+format, args...)}
}

// parseOffer reads an offer leniently: pages edit their SDP, so missing fmtp
// lines and dangling references are no fault (websdk-protocol 9).
func parseOffer(text string) (*offer, error) {
	if len(text) > maxOffer {
		return nil, badOffer("it has %d bytes, at most %d are read", len(text), maxOffer)
	}
	o := &offer{desc: &sdp.SessionDescription{}}
	if err := o.desc.UnmarshalString(text); err != nil {
		return nil, badOffer("%w", err)
	}
	if n := len(o.desc.MediaDescriptions); n == 0 || n > maxSections {
		return nil, badOffer("it has %d m= lines, wanted are 1 to %d", n, maxSections)
	}
	_, session := o.desc.Attribute("fingerprint")
	mids := map[string]bool{}
	for _, m := range o.desc.MediaDescriptions {
		s := readSection(m)
		if s.mid == "" || mids[s.mid] {
			return nil, badOffer("every m= line needs an a=mid of its own")
		}
		mids[s.mid] = true
		_, own := m.Attribute("fingerprint")
		if s.wants && !own && !session {
			return nil, badOffer("it has no a=fingerprint, and media is only sent encrypted")
		}
		if setup, _ := m.Attribute("setup"); setup == "passive" {
			o.active = true
		}
		o.sections = append(o.sections, s)
	}
	return o, nil
}

func readSection(m *sdp.MediaDescription) *section {
	s := &section{media: m}
	s.mid, _ = m.Attribute("mid")
	switch m.MediaName.Media {
	case "audio":
		s.kind = media.Audio
	case "video":
		s.kind = media.Video
	}
	_, bundled := m.Attribute("bundle-only")
	_, sendonly := m.Attribute("sendonly")
	_, inactive := m.Attribute("inactive")
	s.wants = s.kind != 0 && !sendonly && !inactive && (m.MediaName.Port.Value != 0 || bundled)
	for _, f := range m.MediaName.Formats {
		pt, err := strconv.ParseUint(f, 10, 7)
		if err != nil {
			continue
		}
		if c, ok := readCodec(m, uint8(pt)); ok {
			s.codecs = append(s.codecs, c)
		}
	}
	return s
}

// staticTypes are payload types that need no rtpmap (RFC 3551 section 6).
func staticType(pt uint8) string {
	switch pt {
	case 0:
		return "PCMU/8000"
	case 8:
		return "PCMA/8000"
	case 9:
		return "G722/8000"
	}
	return ""
}

func readCodec(m *sdp.MediaDescription, pt uint8) (offered, bool) {
	c := offered{pt: pt, channels: 1}
	rtpmap := staticType(pt)
	prefix := strconv.Itoa(int(pt)) + " "
	for _, a := range m.Attributes {
		value, mine := strings.CutPrefix(a.Value, prefix)
		switch {
		case a.Key == "rtpmap" && mine:
			rtpmap = value
		case a.Key == "fmtp" && mine && c.fmtp == "":
			c.fmtp = strings.TrimSpace(value)
		case a.Key == "rtcp-fb" && mine:
			c.feedback = append(c.feedback, strings.TrimSpace(value))
		}
	}
	parts := strings.Split(strings.TrimSpace(rtpmap), "/")
	if len(parts) < 2 {
		return c, false
	}
	var err error
	if c.clock, err = strconv.Atoi(parts[1]); err != nil || c.clock <= 0 {
		return c, false
	}
	if len(parts) > 2 {
		if c.channels, err = strconv.Atoi(parts[2]); err != nil {
			return c, false
		}
	}
	c.name = parts[0]
	return c, true
}

// find returns the first section that takes this kind, nil if none.
func (o *offer) find(k media.Kind) *section {
	for _, s := range o.sections {
		if s.kind == k && s.wants && len(s.codecs) > 0 {
			return s
		}
	}
	return nil
}

// pick returns the payload type that fits the codec best, nil if none does.
// Browsers decode whatever profile of H.264 comes, so the profile only ranks.
func (s *section) pick(codec media.Codec, clock int, p *media.Params) *offered {
	var best *offered
	bestRank := -1
	for i := range s.codecs {
		c := &s.codecs[i]
		if !strings.EqualFold(c.name, string(codec)) || c.clock != clock {
			continue
		}
		rank := 0
		if codec == h264.Name {
			rank = h264Rank(c.fmtp, p)
		}
		if rank > bestRank {
			best, bestRank = c, rank
		}
	}
	return best
}

// h264Rank prefers packetization-mode 1, because a source's fragments (FU-A)
// are only allowed there (RFC 6184 section 5.2), then the source's profile,
// then constrained baseline.
func h264Rank(fmtp string, p *media.Params) int {
	rank := 0
	profile := "42"
	if p != nil && len(p.Sets) > 0 && len(p.Sets[0]) > 3 {
		profile = fmt.Sprintf("%02x", p.Sets[0][1])
	}
	for _, kv := range strings.Split(fmtp, ";") {
		k, v, _ := strings.Cut(strings.TrimSpace(kv), "=")
		v = strings.ToLower(strings.TrimSpace(v))
		switch strings.ToLower(k) {
		case "packetization-mode":
			if v == "1" {
				rank += 8
			}
		case "profile-level-id":
			if strings.HasPrefix(v, profile) {
				rank += 4
			}
			if strings.HasPrefix(v, "42e0") {
				rank += 2
			}
		}
	}
	return rank
}

// reduced is the offer with only the accepted sections and codecs. What pion
// never sees it can neither negotiate nor be confused by: no candidates to
// check, no header extensions, no retransmission formats.
func (o *offer) reduced() (string, error) {
	d := *o.desc
	d.MediaDescriptions = nil
	d.Attributes = nil
	for _, a := range o.desc.Attributes {
		switch a.Key {
		case "fingerprint", "ice-options", "ice-ufrag", "ice-pwd", "setup":
			d.Attributes = append(d.Attributes, a)
		}
	}
	var mids []string
	for _, s := range o.sections {
		if s.chosen != nil {
			d.MediaDescriptions = append(d.MediaDescriptions, s.reduced())
			mids = append(mids, s.mid)
		}
	}
	d.Attributes = append(d.Attributes, sdp.Attribute{Key: "group", Value: "BUNDLE " + strings.Join(mids, " ")})
	b, err := d.Marshal()
	return string(b), err
}

func (s *section) reduced() *sdp.MediaDescription {
	m := *s.media
	pt := strconv.Itoa(int(s.chosen.pt))
	m.MediaName.Formats = []string{pt}
	m.MediaName.Port = sdp.RangedPort{Value: 9}
	m.Attributes = nil
	for _, a := range s.media.Attributes {
		switch a.Key {
		case "mid", "ice-ufrag", "ice-pwd", "ice-options", "fingerprint", "setup", "rtcp-mux", "rtcp-rsize":
			m.Attributes = append(m.Attributes, a)
		}
	}
	rtpmap := fmt.Sprintf("%s %s/%d", pt, s.chosen.name, s.chosen.clock)
	if s.chosen.channels > 1 {
		rtpmap += "/" + strconv.Itoa(s.chosen.channels)
	}
	m.Attributes = append(m.Attributes, sdp.Attribute{Key: "recvonly"}, sdp.Attribute{Key: "rtpmap", Value: rtpmap})
	if s.chosen.fmtp != "" {
		m.Attributes = append(m.Attributes, sdp.Attribute{Key: "fmtp", Value: pt + " " + s.chosen.fmtp})
	}
	for _, f := range s.chosen.feedback {
		m.Attributes = append(m.Attributes, sdp.Attribute{Key: "rtcp-fb", Value: pt + " " + f})
	}
	return &m
}

// answer puts the answer to the reduced offer back into the shape of the full
// one: same m= lines in the same order, the rejected ones with port 0 and
// outside the BUNDLE group (RFC 8829 section 5.3.1, RFC 9143 section 7.3.3).
func (o *offer) answer(reduced string) (string, error) {
	var d sdp.SessionDescription
	if err := d.UnmarshalString(reduced); err != nil {
		return "", fmt.Errorf("cannot read back the answer: %w", err)
	}
	accepted := map[string]*sdp.MediaDescription{}
	for _, m := range d.MediaDescriptions {
		mid, _ := m.Attribute("mid")
		accepted[mid] = m
	}
	d.MediaDescriptions = nil
	for _, s := range o.sections {
		m := accepted[s.mid]
		switch {
		case s.chosen == nil:
			m = s.rejected()
		case m == nil:
			return "", errors.New("the answer lacks an accepted m= line")
		case s.extension != 0:
			m.Attributes = append(m.Attributes, s.extmap())
		}
		d.MediaDescriptions = append(d.MediaDescriptions, m)
	}
	b, err := d.Marshal()
	return string(b), err
}

func (s *section) rejected() *sdp.MediaDescription {
	return &sdp.MediaDescription{
		MediaName: sdp.MediaName{
			Media: s.media.MediaName.Media, Port: sdp.RangedPort{Value: 0},
			// A static type, because one that needs an rtpmap would lack it.
			Protos: s.media.MediaName.Protos, Formats: []string{"0"},
		},
		// Firefox refuses an m= line without a c= line, even a rejected one.
		ConnectionInformation: &sdp.ConnectionInformation{NetworkType: "IN", AddressType: "IP4", Address: &sdp.Address{Address: "0.0.0.0"}},
		Attributes:            []sdp.Attribute{{Key: "mid", Value: s.mid}, {Key: "inactive"}},
	}
}
