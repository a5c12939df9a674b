package trace

import (
	"bytes"
	"regexp"
)

var (
	secretHeader = regexp.MustCompile(`(?im)^(?:proxy-)?authorization[ \t]*:([^\r\n]*(?:\r?\n[ \t][^\r\n]*)*)`)
	digestScheme = regexp.MustCompile(`(?i)^[ \t]*digest[ \t]`)
	// digestParam are the parameters of digest credentials (RFC 3261 section 25.1);
	// plainParam names those that hide nothing.
	digestParam  = regexp.MustCompile(`(?i)\b([a-z]+)[ \t]*=[ \t]*(?:"([^"\r\n]*)"|([^,\s"]+))[ \t]*,?`)
	plainParam   = regexp.MustCompile(`(?i)^(?:username|realm|algorithm|qop|uri|nc)$`)
	secretLine   = regexp.MustCompile(`(?im)^(?:a=crypto:|a=key-mgmt:|k=)([^\r\n]*)`)
	uriPassword  = regexp.MustCompile(`(?i)\bsips?:[^@\s:;<>"]+:([^@\s<>"]+)@`)
	signalLine   = regexp.MustCompile(`(?im)^signal[ \t]*=([^\r\n]*)`)
	digitContent = regexp.MustCompile(`(?im)^(?:content-type|c)[ \t]*:[ \t]*application/dtmf[ \t]*(?:;[^\r\n]*)?\r?$`)
)

// Mask returns a SIP message as it may be shown: credentials, media keys,
// passwords in addresses, and digits, which may be somebody's PIN, are written
// over by stars. Its length stays, so that Content-Length goes on being right.
func Mask(message []byte) string {
	b := bytes.Clone(message)
	for _, m := range secretHeader.FindAllSubmatchIndex(b, -1) {
		credentials(b[m[2]:m[3]])
	}
	for _, secret := range []*regexp.Regexp{secretLine, uriPassword, signalLine} {
		for _, m := range secret.FindAllSubmatchIndex(b, -1) {
			stars(b[m[2]:m[3]])
		}
	}
	if head, body, found := bytes.Cut(b, []byte("\r\n\r\n")); found && digitContent.Match(head) {
		stars(body)
	}
	return string(b)
}

// credentials leaves of digest credentials what hides nothing, so that what is
// left can still be read as such; of others nothing.
func credentials(value []byte) {
	was := bytes.Clone(value)
	stars(value)
	scheme := digestScheme.Find(was)
	if scheme == nil {
		return
	}
	copy(value, scheme)
	for _, p := range digestParam.FindAllSubmatchIndex(was, -1) {
		copy(value[p[0]:], was[p[0]:p[1]])
		for _, v := range [][]int{p[4:6], p[6:8]} {
			if v[0] >= 0 && !plainParam.Match(was[p[2]:p[3]]) {
				stars(value[v[0]:v[1]])
			}
		}
	}
	for i, c := range was {
		if c == ' ' || c == '\t' {
			value[i] = c
		}
	}
}

func stars(b []byte) {
	for i, c := range b {
		if c != '\r' && c != '\n' {
			b[i] = '*'
		}
	}
}
