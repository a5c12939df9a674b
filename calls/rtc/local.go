package rtc

import (
	"fmt"
	"strings"

	"lineout/media"
)

// local is the description we write: an answer, or an offer.
type local struct {
	session    uint64 // the o= line's
	ufrag, pwd string
	print      string   // a=fingerprint
	candidates []string // without "candidate:"
	setup      string
	stream     string // msid: one for both kinds (websdk-protocol 9)
	sections   []localSection
}

// localSection is one m= line of ours.
type localSection struct {
	word, mid string
	agreed    *agreement // nil: refused
	ssrc      uint32
	cname     string
}

func (l *local) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "v=0\r\no=- %d 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n", l.session)
	var mids []string
	for _, s := range l.sections {
		if s.agreed != nil {
			mids = append(mids, s.mid)
		}
	}
	if len(mids) > 0 { // what is refused is not in the group (RFC 9143 section 7.3.3)
		fmt.Fprintf(&b, "a=group:BUNDLE %s\r\n", strings.Join(mids, " "))
	}
	b.WriteString("a=ice-lite\r\na=msid-semantic: WMS *\r\n")
	first := true
	for i := range l.sections {
		s := &l.sections[i]
		if s.agreed == nil {
			s.refuse(&b)
			continue
		}
		l.section(&b, s, first)
		first = false
	}
	return b.String()
}

// refuse writes an m= line with port 0 (RFC 8829 section 5.3.1). Its format is
// a static one, because another would lack its rtpmap; Firefox wants a c= line.
func (s *localSection) refuse(b *strings.Builder) {
	proto, format := "UDP/TLS/RTP/SAVPF", "0"
	if s.word == "application" {
		proto, format = "UDP/DTLS/SCTP", "webrtc-datachannel"
	}
	fmt.Fprintf(b, "m=%s 0 %s %s\r\nc=IN IP4 0.0.0.0\r\na=mid:%s\r\na=inactive\r\n", s.word, proto, format, s.mid)
}

// section writes an m= line that is used. The transport is that of the group,
// so its candidates stand in the first one.
func (l *local) section(b *strings.Builder, s *localSection, first bool) {
	a := s.agreed
	fmt.Fprintf(b, "m=%s 9 UDP/TLS/RTP/SAVPF", s.word)
	for _, f := range append(a.formats[:len(a.formats):len(a.formats)], a.events...) {
		fmt.Fprintf(b, " %d", f.pt)
	}
	b.WriteString("\r\nc=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\n")
	if first {
		for _, c := range l.candidates {
			fmt.Fprintf(b, "a=candidate:%s\r\n", c)
		}
		b.WriteString("a=end-of-candidates\r\n")
	}
	fmt.Fprintf(b, "a=ice-ufrag:%s\r\na=ice-pwd:%s\r\na=fingerprint:%s\r\na=setup:%s\r\na=mid:%s\r\n", l.ufrag, l.pwd, l.print, l.setup, s.mid)
	if a.twcc != 0 {
		fmt.Fprintf(b, "a=extmap:%d %s\r\n", a.twcc, transportCC)
	}
	fmt.Fprintf(b, "a=%s\r\n", a.direction())
	if a.send {
		fmt.Fprintf(b, "a=msid:%s %s\r\n", l.stream, s.word)
	}
	b.WriteString("a=rtcp-mux\r\n")
	if a.rsize {
		b.WriteString("a=rtcp-rsize\r\n")
	}
	for _, f := range a.formats {
		f.write(b)
	}
	for _, f := range a.events {
		f.write(b)
	}
	if a.send {
		fmt.Fprintf(b, "a=ssrc:%d cname:%s\r\na=ssrc:%d msid:%s %s\r\n", s.ssrc, s.cname, s.ssrc, l.stream, s.word)
	}
}

func (f *agreedFormat) write(b *strings.Builder) {
	fmt.Fprintf(b, "a=rtpmap:%d %s/%d", f.pt, f.name, f.clock)
	if f.kind == media.Audio && f.channels > 1 {
		fmt.Fprintf(b, "/%d", f.channels)
	}
	b.WriteString("\r\n")
	// Right behind the rtpmap, where the SDK looks for it (websdk-protocol 9).
	if f.ours != "" {
		fmt.Fprintf(b, "a=fmtp:%d %s\r\n", f.pt, f.ours)
	}
	for _, fb := range f.feedback {
		fmt.Fprintf(b, "a=rtcp-fb:%d %s\r\n", f.pt, fb)
	}
}

func (a *agreement) direction() string {
	switch {
	case a.send && a.receive:
		return "sendrecv"
	case a.send:
		return "sendonly"
	case a.receive:
		return "recvonly"
	}
	return "inactive"
}
