package sip

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/pion/srtp/v3"
)

// suite is a crypto suite of SDES (RFC 4568 section 6.2, RFC 6188, RFC 7714).
type suite struct {
	name    string
	profile srtp.ProtectionProfile
	key     int // bytes of the master key
	salt    int
}

// suites are those we know, the strongest first, as we offer them.
var suites = []*suite{
	{"AEAD_AES_256_GCM", srtp.ProtectionProfileAeadAes256Gcm, 32, 12},
	{"AEAD_AES_128_GCM", srtp.ProtectionProfileAeadAes128Gcm, 16, 12},
	{"AES_256_CM_HMAC_SHA1_80", srtp.ProtectionProfileAes256CmHmacSha1_80, 32, 14},
	{"AES_CM_128_HMAC_SHA1_80", srtp.ProtectionProfileAes128CmHmacSha1_80, 16, 14},
	{"AES_CM_128_HMAC_SHA1_32", srtp.ProtectionProfileAes128CmHmacSha1_32, 16, 14},
}

// crypto is one a=crypto line: a suite and the key its sender encrypts with.
type crypto struct {
	tag   int
	suite *suite
	key   string // master key and salt, as bytes; a string so that it can be compared
}

const (
	maxCryptos = 16
	maxTag     = 999999999 // nine digits
)

// newCrypto makes a key of our own.
func newCrypto(tag int, s *suite) crypto {
	b := make([]byte, s.key+s.salt)
	rand.Read(b) // never fails
	return crypto{tag, s, string(b)}
}

// newCryptos is what we offer: every suite with a key of its own.
func newCryptos() []crypto {
	var out []crypto
	for i, s := range suites {
		out = append(out, newCrypto(i+1, s))
	}
	return out
}

// line is the attribute's value (RFC 4568 section 9.1).
func (c crypto) line() string {
	return fmt.Sprintf("%d %s inline:%s", c.tag, c.suite.name, base64.StdEncoding.EncodeToString([]byte(c.key)))
}

// String hides the key, wherever it might be printed.
func (c crypto) String() string { return fmt.Sprintf("%d %s", c.tag, c.suite.name) }

// parseCrypto reads the value of an a=crypto line. What it cannot do (unknown
// suites, several keys, key identifiers, sessions that leave something in the
// clear) is not ok: such a line may be left out, RFC 4568 section 7.1.2.
func parseCrypto(v string) (c crypto, ok bool) {
	f := strings.Fields(v)
	if len(f) < 3 {
		return c, false
	}
	tag, err := strconv.ParseUint(f[0], 10, 32)
	if err != nil || tag > maxTag {
		return c, false
	}
	i := slices.IndexFunc(suites, func(s *suite) bool { return strings.EqualFold(s.name, f[1]) })
	method, rest, _ := strings.Cut(f[2], ":")
	if i < 0 || !strings.EqualFold(method, "inline") || strings.Contains(rest, ";") {
		return c, false
	}
	words := strings.Split(rest, "|") // key, lifetime, MKI; only the first is needed
	for _, w := range words[1:] {
		if strings.Contains(w, ":") {
			return c, false
		}
	}
	key, err := base64.StdEncoding.DecodeString(words[0])
	if err != nil {
		key, err = base64.RawStdEncoding.DecodeString(words[0])
	}
	if err != nil || len(key) != suites[i].key+suites[i].salt {
		return c, false
	}
	for _, p := range f[3:] {
		// A hint at the replay window may be passed over; the others change what is sent.
		if name, _, _ := strings.Cut(p, "="); !strings.EqualFold(name, "WSH") && !strings.HasPrefix(p, "-") {
			return c, false
		}
	}
	return crypto{int(tag), suites[i], string(key)}, true
}

// srtpMode is when media is encrypted.
type srtpMode string

const (
	srtpOff      srtpMode = "off"
	srtpSecure   srtpMode = "secure" // offered where the keys travel over TLS
	srtpOptional srtpMode = "optional"
	srtpRequired srtpMode = "required"
)

func parseSRTP(s string) (srtpMode, error) {
	switch m := srtpMode(strings.ToLower(s)); m {
	case srtpOff, srtpSecure, srtpOptional, srtpRequired, "":
		return m, nil
	}
	return "", fmt.Errorf("want off, secure, optional or required, got %q", s)
}

// offers says whether keys are offered in a call over a transport.
func (m srtpMode) offers(transport string) bool {
	return m == srtpOptional || m == srtpRequired || m == srtpSecure && transport == overTLS
}
