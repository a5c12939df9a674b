package sip

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"lineout/media"
)

// Bounds on what a peer's session description may hold.
const (
	maxSDPBytes   = 32 << 10
	maxSDPLines   = 1024
	maxSDPLine    = 4096
	maxSDPMedia   = 16
	maxSDPFormats = 64
)

// direction is the a=sendrecv family of RFC 8866 section 6.7.
type direction uint8

const (
	sendrecv direction = iota
	sendonly
	recvonly
	inactive
)

var directionWords = [...]string{"sendrecv", "sendonly", "recvonly", "inactive"}

func (d direction) String() string { return directionWords[d] }
func (d direction) sends() bool    { return d == sendrecv || d == sendonly }
func (d direction) receives() bool { return d == sendrecv || d == recvonly }

func makeDirection(send, receive bool) direction {
	switch {
	case send && receive:
		return sendrecv
	case send:
		return sendonly
	case receive:
		return recvonly
	}
	return inactive
}

// sdpFormat is one payload type of a section as the peer wrote it.
type sdpFormat struct {
	pt    uint8
	name  string // empty without rtpmap
	clock int
	chans int
	fmtp  string
}

// sdpMedia is one m= section of a peer's description.
type sdpMedia struct {
	word     string // "audio", "video", ...
	kind     media.Kind
	port     int
	proto    string
	fmtWords string // the format list as written, to refuse the section with
	formats  []sdpFormat
	host     string
	dir      direction
	rtcpPort int           // a=rtcp, 0 if absent
	rtcpHost string        // "" = host
	ssrc     uint32        // first a=ssrc, 0 if absent
	ptime    time.Duration // a=ptime, 0 if absent or out of reason
	mux      bool
	cryptos  []crypto // a=crypto lines that we can do
	pli, fir bool     // a=rtcp-fb names nack pli, ccm fir
}

type sdpSession struct {
	media []sdpMedia
}

// held says that the address is the old way of putting a call on hold (RFC 3264 section 8.4).
func (m *sdpMedia) held() bool {
	a, err := netip.ParseAddr(m.host)
	return err == nil && a.IsUnspecified()
}

// usable says whether the section was not refused and is RTP.
func (m *sdpMedia) usable() bool {
	return m.port != 0 && (m.proto == "RTP/AVP" || m.proto == "RTP/AVPF" || m.encrypted()) && m.host != ""
}

// encrypted says that the profile asks for SRTP.
func (m *sdpMedia) encrypted() bool { return m.proto == "RTP/SAVP" || m.proto == "RTP/SAVPF" }

// parseSDP reads an offer or answer. Unknown lines are skipped, as RFC 8866
// asks; sizes are bounded; nothing in b can make it panic.
func parseSDP(b []byte) (*sdpSession, error) {
	if len(b) > maxSDPBytes {
		return nil, fmt.Errorf("the session description has %d bytes, the limit is %d", len(b), maxSDPBytes)
	}
	s := &sdpSession{}
	var top sdpMedia
	cur := &top
	lines := 0
	for line := range strings.Lines(string(b)) {
		line = strings.TrimRight(line, "\r\n")
		if lines++; lines > maxSDPLines || len(line) > maxSDPLine {
			return nil, fmt.Errorf("the session description is larger than %d lines of %d bytes", maxSDPLines, maxSDPLine)
		}
		if len(line) < 2 || line[1] != '=' {
			continue
		}
		switch value := line[2:]; line[0] {
		case 'v':
			if strings.TrimSpace(value) != "0" {
				return nil, fmt.Errorf("unknown session description version %q", value)
			}
		case 'c':
			host, err := parseConnection(value)
			if err != nil {
				return nil, err
			}
			cur.host = host
		case 'm':
			if len(s.media) == maxSDPMedia {
				return nil, fmt.Errorf("the session description has more than %d media sections", maxSDPMedia)
			}
			m, err := parseMedia(value)
			if err != nil {
				return nil, err
			}
			m.host, m.dir = top.host, top.dir
			s.media = append(s.media, m)
			cur = &s.media[len(s.media)-1]
		case 'a':
			cur.attribute(value)
		}
	}
	if len(s.media) == 0 {
		return nil, errors.New("the session description has no media section")
	}
	return s, nil
}

func parseConnection(v string) (string, error) {
	f := strings.Fields(v)
	if len(f) != 3 || f[0] != "IN" || (f[1] != "IP4" && f[1] != "IP6") {
		return "", fmt.Errorf("cannot read the connection line c=%q", v)
	}
	host, _, _ := strings.Cut(f[2], "/")
	if err := checkHost(host); err != nil {
		return "", fmt.Errorf("connection line: %w", err)
	}
	return host, nil
}

func parseMedia(v string) (sdpMedia, error) {
	f := strings.Fields(v)
	// Its words are tokens (RFC 8866 section 9); others would be changed by our
	// answer, which has to repeat them.
	other := strings.ContainsFunc(v, func(r rune) bool { return r > '~' || r < ' ' && r != '\t' })
	if other || len(f) < 4 || len(f)-3 > maxSDPFormats {
		return sdpMedia{}, fmt.Errorf("cannot read the media line m=%.80q", v)
	}
	m := sdpMedia{word: f[0], proto: strings.ToUpper(f[2]), fmtWords: strings.Join(f[3:], " ")}
	switch strings.ToLower(f[0]) {
	case "audio":
		m.kind = media.Audio
	case "video":
		m.kind = media.Video
	}
	port, _, _ := strings.Cut(f[1], "/")
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return sdpMedia{}, fmt.Errorf("media line m=%q: %q is not a port", v, f[1])
	}
	m.port = int(n)
	for _, word := range f[3:] {
		if pt, err := strconv.ParseUint(word, 10, 7); err == nil {
			m.formats = append(m.formats, sdpFormat{pt: uint8(pt)})
		}
	}
	return m, nil
}

// attribute takes one a= line; what it cannot read it leaves out.
func (m *sdpMedia) attribute(v string) {
	key, val, _ := strings.Cut(v, ":")
	switch key {
	case "sendrecv":
		m.dir = sendrecv
	case "sendonly":
		m.dir = sendonly
	case "recvonly":
		m.dir = recvonly
	case "inactive":
		m.dir = inactive
	case "ptime":
		if ms, err := strconv.ParseFloat(strings.TrimSpace(val), 64); err == nil && ms >= 5 && ms <= 200 {
			m.ptime = time.Duration(ms * float64(time.Millisecond))
		}
	case "crypto":
		if c, ok := parseCrypto(val); ok && len(m.cryptos) < maxCryptos {
			m.cryptos = append(m.cryptos, c)
		}
	case "rtcp-mux":
		m.mux = true
	case "rtcp-fb":
		_, fb, _ := strings.Cut(val, " ")
		switch strings.ToLower(strings.TrimSpace(fb)) {
		case "nack pli":
			m.pli = true
		case "ccm fir":
			m.fir = true
		}
	case "rtpmap":
		if f, rest := m.format(val); f != nil {
			parts := strings.Split(rest, "/")
			f.name = parts[0]
			if len(parts) > 1 {
				f.clock, _ = strconv.Atoi(parts[1])
			}
			if len(parts) > 2 {
				f.chans, _ = strconv.Atoi(parts[2])
			}
		}
	case "fmtp":
		if f, rest := m.format(val); f != nil {
			f.fmtp = rest
		}
	case "rtcp":
		f := strings.Fields(val)
		if len(f) == 0 {
			return
		}
		if n, err := strconv.ParseUint(f[0], 10, 16); err == nil {
			m.rtcpPort = int(n)
		}
		if len(f) == 4 && checkHost(f[3]) == nil {
			m.rtcpHost = f[3]
		}
	case "ssrc":
		word, _, _ := strings.Cut(val, " ")
		if n, err := strconv.ParseUint(word, 10, 32); err == nil && m.ssrc == 0 {
			m.ssrc = uint32(n)
		}
	}
}

// format finds the payload type an rtpmap or fmtp speaks of.
func (m *sdpMedia) format(v string) (*sdpFormat, string) {
	word, rest, _ := strings.Cut(strings.TrimSpace(v), " ")
	pt, err := strconv.ParseUint(word, 10, 7)
	if err != nil {
		return nil, ""
	}
	for i := range m.formats {
		if m.formats[i].pt == uint8(pt) {
			return &m.formats[i], strings.TrimSpace(rest)
		}
	}
	return nil, ""
}
