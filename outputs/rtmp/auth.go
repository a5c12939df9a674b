package rtmp

import (
	"crypto/md5"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"
)

// adobeAuth is the challenge and response that Adobe Media Server, Wowza and
// their clients use for rtmp://user:password@… ("authmod=adobe"). There is no
// standard for it; this is what the clients in use do. Each step is a new
// connection whose connect carries the answer to the last refusal, so the
// password itself is never sent.
type adobeAuth struct {
	user, pass string
	answered   bool
}

var errNotAuth = errors.New("not a request for authentication")

// next takes the description of a refused connect and returns the parameters
// to try again with, or errNotAuth if the refusal has another reason.
func (a *adobeAuth) next(description string) (params string, err error) {
	if !strings.Contains(description, "authmod=") {
		return "", errNotAuth
	}
	if !strings.Contains(description, "authmod=adobe") {
		return "", errors.New("the server asks for a kind of authentication other than authmod=adobe")
	}
	switch {
	case a.user == "":
		return "", errors.New("the server asks for a user and a password: give them as rtmp://user:password@host/…")
	case strings.Contains(description, "reason=authfailed"), strings.Contains(description, "reason=nosuchuser"), a.answered:
		return "", errors.New("the server does not accept the user or the password in rtmpUrl")
	case strings.Contains(description, "code=403 need auth"):
		return "authmod=adobe&user=" + a.user, nil
	}
	_, query, ok := strings.Cut(description, "?reason=needauth")
	if !ok {
		return "", errors.New("the server asks for authentication in a way that is not understood")
	}
	var salt, challenge, opaque string
	for _, kv := range strings.Split(strings.TrimRight(query, " ]"), "&") {
		k, v, _ := strings.Cut(kv, "=")
		switch k {
		case "salt":
			salt = v
		case "challenge":
			challenge = v
		case "opaque":
			opaque = v
		}
	}
	a.answered = true
	var nonce [4]byte
	rand.Read(nonce[:]) // never fails (crypto/rand)
	mine := hex.EncodeToString(nonce[:])
	params = "authmod=adobe&user=" + a.user + "&challenge=" + mine +
		"&response=" + adobeResponse(a.user, a.pass, salt, opaque, challenge, mine)
	if opaque != "" {
		params += "&opaque=" + opaque
	}
	return params, nil
}

// adobeResponse is base64(md5(base64(md5(user+salt+password)) + (opaque or
// challenge) + our challenge)).
func adobeResponse(user, pass, salt, opaque, challenge, mine string) string {
	if opaque == "" {
		opaque = challenge
	}
	inner := md5.Sum([]byte(user + salt + pass))
	outer := md5.Sum([]byte(base64.StdEncoding.EncodeToString(inner[:]) + opaque + mine))
	return base64.StdEncoding.EncodeToString(outer[:])
}

// withQuery appends parameters to an application or URL that may have some.
func withQuery(s, params string) string {
	switch {
	case params == "":
		return s
	case strings.Contains(s, "?"):
		return s + "&" + params
	}
	return s + "?" + params
}
