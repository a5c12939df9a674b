package sip

import (
	"fmt"
	"strings"

	"lineout/media"
)

// localSection is what our own description says about one media section.
type localSection struct {
	kind    media.Kind
	refused bool   // port 0
	word    string // m= type, for refused sections of unknown kind
	proto   string
	port    int
	formats []localFormat
	refuse  string // format list of a refused section
	dir     direction
	ssrc    uint32
	cname   string
	cryptos []crypto
	mux     bool // RTCP on the port of RTP, in answers to who offers it (RFC 5761)
}

// localFormat is a payload type of ours.
type localFormat struct {
	pt     uint8
	rtpmap string
	fmtp   string
}

// localSession is our side's description. version grows with every change
// (RFC 3264 section 8).
type localSession struct {
	name     string // product, "lineout/1.0"
	version  int64
	address  string
	sections []localSection
	sent     string // the newest description made by describe
}

// describe is String for sending: the version grows if the description differs
// from the one sent before, and only then (RFC 3264 section 8).
func (s *localSession) describe() string {
	text := s.String()
	if text != s.sent {
		s.version++
		text = s.String()
		s.sent = text
	}
	return text
}

// String writes the form of S2-30: session-level and media-level c=, rtpmap
// lines, ptime for audio, feedback lines for video although the profile is
// plain RTP/AVP, a=rtcp with the odd port, the direction, and one ssrc line.
func (s *localSession) String() string {
	var b strings.Builder
	origin, _, _ := strings.Cut(s.name, "/")
	origin = strings.ReplaceAll(origin, " ", "-")
	conn := "IN IP4 " + s.address
	if strings.HasPrefix(s.address, "[") {
		conn = "IN IP6 " + strings.Trim(s.address, "[]")
	}
	fmt.Fprintf(&b, "v=0\r\no=%s 0 %d %s\r\ns=%s\r\nc=%s\r\nt=0 0\r\n", origin, s.version, conn, s.name, conn)
	for i := range s.sections {
		s.sections[i].write(&b, conn)
	}
	return b.String()
}

func (m *localSection) write(b *strings.Builder, conn string) {
	if m.refused {
		fmt.Fprintf(b, "m=%s 0 %s %s\r\n", m.word, m.proto, m.refuse)
		return
	}
	fmt.Fprintf(b, "m=%s %d %s", m.kind, m.port, m.proto)
	for _, f := range m.formats {
		fmt.Fprintf(b, " %d", f.pt)
	}
	fmt.Fprintf(b, "\r\nc=%s\r\n", conn)
	for _, f := range m.formats {
		if f.rtpmap != "" {
			fmt.Fprintf(b, "a=rtpmap:%d %s\r\n", f.pt, f.rtpmap)
		}
		if f.fmtp != "" {
			fmt.Fprintf(b, "a=fmtp:%d %s\r\n", f.pt, f.fmtp)
		}
	}
	for _, c := range m.cryptos {
		b.WriteString("a=crypto:" + c.line() + "\r\n")
	}
	rtcp := m.port + 1
	if m.mux {
		rtcp = m.port
		b.WriteString("a=rtcp-mux\r\n")
	}
	if m.kind == media.Audio {
		b.WriteString("a=ptime:20\r\n")
	} else {
		b.WriteString("a=rtcp-fb:* ccm fir\r\na=rtcp-fb:* nack\r\na=rtcp-fb:* nack pli\r\n")
	}
	fmt.Fprintf(b, "a=rtcp:%d %s\r\na=%s\r\na=ssrc:%d cname:%s\r\n", rtcp, conn, m.dir, m.ssrc, m.cname)
}

// localFormats writes wire formats as offered payload types. Those with a number
// of their own (RFC 3551 table 4) need no rtpmap, and an INVITE has to be short;
// G.711 has one because S2-30 shows it.
func localFormats(in []wireFormat) []localFormat {
	out := make([]localFormat, len(in))
	for i, f := range in {
		out[i] = localFormat{f.pt, f.rtpmap, f.fmtp}
		if f.pt == 9 || f.pt == 18 {
			out[i].rtpmap = ""
		}
	}
	return out
}
