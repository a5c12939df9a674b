package sip

import (
	"strings"
	"testing"

	sipmsg "github.com/emiago/sipgo/sip"
)

func challenge(t *testing.T, code int, headers ...string) *sipmsg.Response {
	t.Helper()
	res := response(t, headers...)
	res.StatusCode = code
	return res
}

func signed(c *credentials) (www, proxy []string) {
	req := sipmsg.NewRequest(sipmsg.REGISTER, sipmsg.Uri{Scheme: "sip", Host: "d.test"})
	req.SetBody(nil)
	c.sign(req)
	for _, h := range req.GetHeaders("Authorization") {
		www = append(www, h.Value())
	}
	for _, h := range req.GetHeaders("Proxy-Authorization") {
		proxy = append(proxy, h.Value())
	}
	return www, proxy
}

// TestStrongestDigest: of the algorithms of one realm the strongest that we
// know is answered, wherever it stands (RFC 8760).
func TestStrongestDigest(t *testing.T) {
	for _, c := range []struct {
		offered []string
		want    string
	}{
		{[]string{`algorithm=MD5`, `algorithm=SHA-256`, `algorithm=SHA-512-256`}, "SHA-512-256"},
		{[]string{`algorithm=SHA-256`, `algorithm=md5`, `algorithm=BOGUS`}, "SHA-256"},
		{[]string{`opaque="o"`}, ""},
		{[]string{`algorithm=BOGUS`, `algorithm=MD5, qop="none"`}, "refused"},
	} {
		k := &credentials{user: "ann", password: "pw"}
		var headers []string
		for _, o := range c.offered {
			headers = append(headers, `WWW-Authenticate: Digest realm="r", nonce="n", qop="auth, auth-int", `+o)
			if strings.Contains(o, "qop") {
				headers[len(headers)-1] = `WWW-Authenticate: Digest realm="r", nonce="n", ` + o
			}
		}
		again, err := k.begin().retry(challenge(t, 401, headers...))
		if c.want == "refused" {
			if again || err == nil {
				t.Errorf("%v: %v %v", c.offered, again, err)
			}
			continue
		}
		www, _ := signed(k)
		if !again || err != nil || len(www) != 1 || c.want != "" && !strings.Contains(www[0], "algorithm="+c.want+",") ||
			c.want == "" && strings.Contains(www[0], "algorithm") || !strings.Contains(www[0], "qop=auth,") {
			t.Errorf("%v: %v %v %q", c.offered, again, err, www)
		}
	}
}

// TestRealms: a registrar's 401 and a proxy's 407 are both answered from then
// on; uses of a nonce are counted, a nonce without qop is used once, and the
// next nonce of a 2xx takes its place.
func TestRealms(t *testing.T) {
	k := &credentials{user: "ann", password: "pw"}
	try := k.begin()
	for code, header := range map[int]string{407: `Proxy-Authenticate: Digest realm="p", nonce="1", qop="auth"`, 401: `WWW-Authenticate: Digest realm="r", nonce="2"`} {
		if again, err := try.retry(challenge(t, code, header)); !again || err != nil {
			t.Fatal(again, err)
		}
	}
	www, proxy := signed(k)
	if len(www) != 1 || len(proxy) != 1 || !strings.Contains(www[0], `realm="r"`) || !strings.Contains(proxy[0], "nc=00000001") {
		t.Fatalf("%q %q", www, proxy)
	}
	if www, proxy = signed(k); len(www) != 0 || len(proxy) != 1 || !strings.Contains(proxy[0], "nc=00000002") {
		t.Errorf("%q %q", www, proxy)
	}
	k.accepted(response(t, `Proxy-Authentication-Info: nextnonce="3", qop=auth`))
	if _, proxy = signed(k); !strings.Contains(proxy[0], `nonce="3"`) || !strings.Contains(proxy[0], "nc=00000001") {
		t.Errorf("%q", proxy)
	}
}

// TestChallengeEnds: a stale nonce may be followed by another, a wrong password
// may not go on for ever, and a server cannot keep us busy with stale ones.
func TestChallengeEnds(t *testing.T) {
	for extra, want := range map[string]int{"": 2, ", stale=true": maxChallenges} {
		try := (&credentials{user: "ann", password: "pw"}).begin()
		n := 0
		for ; n < 100; n++ {
			if again, err := try.retry(challenge(t, 401, `WWW-Authenticate: Digest realm="r", nonce="n"`+extra)); !again || err != nil {
				break
			}
		}
		if n != want {
			t.Errorf("%q: %d repetitions, want %d", extra, n, want)
		}
	}
	try := (&credentials{user: "ann"}).begin()
	if again, _ := try.retry(challenge(t, 401, `WWW-Authenticate: Digest realm="r", nonce="n"`)); again {
		t.Error("a challenge was answered without a password")
	}
}
