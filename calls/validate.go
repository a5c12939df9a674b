package calls

import (
	"strings"
	"unicode/utf8"

	"lineout/api/fault"
	"lineout/pipeline"
)

// maxText limits what a request may carry; longer values are refused, not cut.
const maxText = 1024

// validate checks a request before anything is reserved. Messages name the key
// as the REST API spells it.
func (r *Request) validate() error {
	if strings.TrimSpace(r.SIPLogin) == "" {
		return missing("sipLogin")
	}
	if err := r.checkNames(); err != nil {
		return err
	}
	for _, f := range []struct{ key, value string }{
		{"sipLogin", r.SIPLogin}, {"sipAuthenticationName", r.SIPAuthName}, {"sipPassword", r.SIPPassword},
		{"sipDomain", r.SIPDomain}, {"sipOutboundProxy", r.SIPProxy}, {"appKey", r.AppKey},
		{"sipTransport", r.SIPTransport}, {"sipSrtp", r.SIPSRTP},
		{"toStream", r.ToStream}, {"rtmpUrl", r.RTMPURL}, {"rtmpStream", r.RTMPStream},
	} {
		if len(f.value) > maxText || !utf8.ValidString(f.value) || strings.ContainsFunc(f.value, control) {
			return fault.New(fault.BadRequest, "%s is longer than %d bytes, not UTF-8, or holds control characters", f.key, maxText)
		}
	}
	for _, n := range []string{r.SIPLogin, r.SIPAuthName} {
		if reserved(n) {
			// The text is part of the API (S2-47).
			return fault.New(fault.Internal, "SIP login or authentication name contains reserved symbols")
		}
	}
	if err := checkStreamName("toStream", r.ToStream); err != nil {
		return err
	}
	if (r.RTMPURL == "") != (r.RTMPStream == "") {
		return fault.New(fault.BadRequest, "rtmpUrl and rtmpStream belong together: give both or neither")
	}
	if r.SIPPort < 0 || r.SIPPort > 65535 {
		return fault.New(fault.BadRequest, "sipPort %d is not a port number", r.SIPPort)
	}
	return nil
}

func missing(key string) error {
	return fault.New(fault.BadRequest, "%s is missing: it is needed to make a call", key)
}

// checkNames checks what every call has.
func (r *Request) checkNames() error {
	for _, f := range []struct{ key, value string }{{"callId", r.CallID}, {"callee", r.Callee}, {"caller", r.Caller}, {"visibleName", r.VisibleName}} {
		if len(f.value) > maxText || !utf8.ValidString(f.value) || strings.ContainsFunc(f.value, control) {
			return fault.New(fault.BadRequest, "%s is longer than %d bytes, not UTF-8, or holds control characters", f.key, maxText)
		}
	}
	switch {
	case strings.TrimSpace(r.CallID) == "":
		return missing("callId")
	case strings.TrimSpace(r.Callee) == "":
		return missing("callee")
	case strings.ContainsFunc(r.CallID, notCallID):
		return fault.New(fault.BadRequest, "callId %q holds characters a SIP Call-ID must not have (RFC 3261 section 25.1)", r.CallID)
	}
	return nil
}

func checkStreamName(key, name string) error {
	if err := pipeline.CheckName(name); err != nil {
		return fault.New(fault.BadRequest, "%s: %w", key, err)
	}
	return nil
}

// reserved says whether a user part holds what RFC 3261 section 25.1 does not
// allow there unescaped, or stands in angle brackets (S2-48).
func reserved(user string) bool {
	for i := 0; i < len(user); i++ {
		c := user[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case strings.IndexByte("-_.!~*'()&=+$,;?/", c) >= 0:
		case c == '%' && i+2 < len(user) && hex(user[i+1]) && hex(user[i+2]):
			i += 2
		default:
			return true
		}
	}
	return false
}

func hex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

// notCallID is true for what the "word" rule of RFC 3261 does not hold; "@" joins two words.
func notCallID(c rune) bool {
	return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
		strings.ContainsRune("-.!%*_+`'~()<>:\\\"/[]?{}@", c))
}

func control(c rune) bool { return c < 0x20 || c == 0x7f }
