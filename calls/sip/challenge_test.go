package sip

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/icholy/digest"

	"lineout/calls/leg"
	"lineout/test/peers"
)

// respond answers a challenge as a caller does.
func respond(t *testing.T, challenge, user, pass string, count int) *digest.Credentials {
	t.Helper()
	c, err := digest.ParseChallenge(challenge)
	if err != nil {
		t.Fatal(err)
	}
	cred, err := digest.Digest(c, digest.Options{Method: "INVITE", URI: "sip:x", Username: user, Password: pass, Count: count})
	if err != nil {
		t.Fatal(err)
	}
	return cred
}

func judge(e *examiner, c *digest.Credentials, t *trunk, from netip.Addr, now time.Time) loginVerdict {
	return e.check(c, from, now, func() bool { return c.Username == t.user && fits(c, "INVITE", t.pass, "") })
}

func TestExaminer(t *testing.T) {
	now, from := time.Unix(1e9, 0), netip.MustParseAddr("192.0.2.1")
	e := newExaminer("lineout", []string{"SHA-256", "MD5"})
	tr := &trunk{user: "pbx", pass: "secret"}
	asked := e.ask(from, false, now)
	if len(asked) != 2 || !strings.Contains(asked[0].Value(), "algorithm=SHA-256") || !strings.Contains(asked[1].Value(), `qop="auth"`) {
		t.Fatalf("%v", asked)
	}
	for i, h := range asked {
		count := 10*i + 1 // both have one nonce
		ok := respond(t, h.Value(), "pbx", "secret", count)
		for name, c := range map[string]struct {
			change func(c *digest.Credentials)
			want   loginVerdict
		}{
			"another password": {func(c *digest.Credentials) { *c = *respond(t, h.Value(), "pbx", "Secret", count) }, loginWrong},
			"another user":     {func(c *digest.Credentials) { *c = *respond(t, h.Value(), "xbp", "secret", count) }, loginWrong},
			"no qop":           {func(c *digest.Credentials) { c.QOP = "" }, loginWrong},
			"another realm":    {func(c *digest.Credentials) { c.Realm = "other" }, loginWrong},
			"another method":   {func(c *digest.Credentials) { c.URI = "sip:y" }, loginWrong},
			"SHA-512":          {func(c *digest.Credentials) { c.Algorithm = "SHA-512" }, loginWrong},
			"a made-up nonce":  {func(c *digest.Credentials) { c.Nonce = strings.Repeat("A", 32) }, loginWrong},
			"count 0":          {func(c *digest.Credentials) { c.Nc = 0 }, loginWrong},
		} {
			bad := *ok
			c.change(&bad)
			if got := judge(e, &bad, tr, from, now); got != c.want {
				t.Errorf("%s: %v", name, got)
			}
		}
		if got := judge(e, ok, tr, netip.MustParseAddr("192.0.2.2"), now); got != loginWrong {
			t.Errorf("a nonce of somebody else: %v", got)
		}
		if got := judge(e, ok, tr, from, now.Add(nonceLife+1)); got != loginStale {
			t.Errorf("too old: %v", got)
		}
		if got := judge(e, ok, tr, from, now.Add(nonceLife)); got != loginRight {
			t.Errorf("right: %v", got)
		}
		if got := judge(e, ok, tr, from, now); got != loginStale {
			t.Errorf("the same again: %v", got)
		}
		if got := judge(e, respond(t, h.Value(), "pbx", "secret", count+1), tr, from, now); got != loginRight {
			t.Errorf("the next count: %v", got)
		}
	}
}

func TestTableOfNoncesIsBounded(t *testing.T) {
	e, now := newExaminer("x", []string{"MD5"}), time.Unix(1e9, 0)
	for i := range maxNonces {
		e.use(fmt.Sprint(i), 1, now)
	}
	if e.use("more", 1, now) || len(e.used) != maxNonces {
		t.Error("the table grows")
	}
	if !e.use("more", 1, now.Add(nonceLife+1)) || len(e.used) != 1 {
		t.Error("old nonces are not forgotten")
	}
}

// TestTrunkWithLogin: a real phone calls with its password; a wrong one is refused.
func TestTrunkWithLogin(t *testing.T) {
	k := &desk{}
	s := take(t, k, func(c *Config) {
		c.Trunks = []string{"name=office user=10005 password=pw10005"}
		c.DigestAlgorithms = []string{"MD5"}
	})
	phone := peers.StartSoftphone(t, peers.SoftphoneConfig{User: "10005", Video: peers.None})
	phone.Dial(t, s.uri("line1"))
	phone.WaitEvent(t, "CALL_ESTABLISHED")
	c, in := k.next(0)
	if in.Trunk != "office" || strings.Contains(in.Message, "pw10005") {
		t.Errorf("told %+v", in)
	}
	phone.Hangup(t)
	c.wait(leg.Ended)
	bad := peers.StartSoftphone(t, peers.SoftphoneConfig{User: "10005", Password: "guess", Video: peers.None})
	bad.Dial(t, s.uri("line1"))
	bad.WaitEvent(t, "CALL_CLOSED")
	if len(k.told) != 1 {
		t.Error("a wrong password was let in")
	}
}

func FuzzLogin(f *testing.F) {
	e := newExaminer("lineout", []string{"MD5"})
	from := netip.MustParseAddr("192.0.2.1")
	f.Add(`Digest username="pbx", realm="lineout", nonce="x", uri="sip:a", response="0", qop=auth, nc=00000001, cnonce="c"`)
	f.Add(`Digest nc=ffffffff`)
	f.Add(`digest username=`)
	f.Fuzz(func(t *testing.T, header string) {
		c, err := digest.ParseCredentials(header)
		if err == nil && judge(e, c, &trunk{user: "pbx", pass: "secret"}, from, time.Now()) == loginRight {
			t.Fatal("let in")
		}
	})
}
