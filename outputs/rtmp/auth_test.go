package rtmp

import (
	"context"
	"errors"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bluenviron/gortmplib"
	peermsg "github.com/bluenviron/gortmplib/pkg/message"
)

// authServer is a server of another library that asks for authmod=adobe. Once
// a client is let in, serve is called with its connection.
func authServer(t *testing.T, user, pass string, serve func(*gortmplib.ServerConn)) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer nc.Close()
				c := &gortmplib.ServerConn{RW: nc}
				if c.Initialize() != nil || user != "" && c.CheckCredentials(user, pass) != nil || c.Accept() != nil {
					return
				}
				serve(c)
			})
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return l.Addr().String()
}

func drain(c *gortmplib.ServerConn) {
	for {
		if _, err := c.Read(); err != nil {
			return
		}
	}
}

func TestAdobeAuth(t *testing.T) {
	// The other library compares with the fixed user of its own tests.
	addr := authServer(t, "myuser", "my pass", drain)
	d := &dialer{connectTimeout: 5 * time.Second, writeTimeout: 5 * time.Second}
	dial := func(login string) error {
		a, err := parseAddress("rtmp://"+login+addr+"/live", "s", false)
		if err != nil {
			t.Fatal(err)
		}
		c, err := d.dial(t.Context(), a, "test")
		if err == nil {
			c.close(t.Context())
		}
		return err
	}
	if err := dial("myuser:my%20pass@"); err != nil {
		t.Errorf("right password: %v", err)
	}
	if err := dial("myuser:" + url.QueryEscape("wrong") + "@"); err == nil || !strings.Contains(err.Error(), "does not accept") {
		t.Errorf("wrong password: %v", err)
	}
	if err := dial(""); err == nil || !strings.Contains(err.Error(), "asks for a user") {
		t.Errorf("no password: %v", err)
	}
}

func TestAdobeAuthSteps(t *testing.T) {
	// The form in which Adobe Media Server and Wowza refuse.
	a := adobeAuth{user: "u", pass: "p"}
	params, err := a.next("[ AccessManager.Reject ] : [ code=403 need auth; authmod=adobe ] : ")
	if err != nil || params != "authmod=adobe&user=u" {
		t.Errorf("first step: %q, %v", params, err)
	}
	params, err = a.next("[ AccessManager.Reject ] : [ authmod=adobe ] : ?reason=needauth&user=u&salt=abc=&challenge=def&opaque=ghi==")
	if err != nil || !strings.HasPrefix(params, "authmod=adobe&user=u&challenge=") || !strings.HasSuffix(params, "&opaque=ghi==") {
		t.Errorf("second step: %q, %v", params, err)
	}
	values, err := url.ParseQuery(strings.ReplaceAll(params, "+", "%2B"))
	if err != nil {
		t.Fatal(err)
	}
	if want := adobeResponse("u", "p", "abc=", "ghi==", "def", values.Get("challenge")); values.Get("response") != want {
		t.Errorf("response %q, want %q", values.Get("response"), want)
	}
	if _, err := a.next("[ authmod=adobe ] : ?reason=needauth&salt=x"); err == nil {
		t.Error("asked again after the answer, it goes on")
	}
	if _, err := a.next("no such application"); !errors.Is(err, errNotAuth) {
		t.Errorf("another refusal: %v", err)
	}
	if _, err := a.next("code=403 need auth; authmod=llnw"); err == nil || errors.Is(err, errNotAuth) {
		t.Errorf("another kind of authentication: %v", err)
	}
	if got := adobeResponse("u", "p", "s", "", "c", "m"); got != adobeResponse("u", "p", "s", "c", "other", "m") {
		t.Error("the challenge does not stand in for a missing opaque")
	}
}

// The reader answers pings while no media flows, and notices the end at once.
func TestPingAndEnd(t *testing.T) {
	pong := make(chan uint32, 1)
	end := make(chan struct{})
	addr := authServer(t, "", "", func(c *gortmplib.ServerConn) {
		if c.Write(&peermsg.UserControlPingRequest{ServerTime: 4711}) != nil {
			return
		}
		for {
			m, err := c.Read()
			if err != nil {
				return
			}
			if p, ok := m.(*peermsg.UserControlPingResponse); ok {
				pong <- uint32(p.ServerTime)
				<-end
				return
			}
		}
	})
	a, err := parseAddress("rtmp://"+addr+"/live", "s", false)
	if err != nil {
		t.Fatal(err)
	}
	c, err := (&dialer{connectTimeout: 5 * time.Second, writeTimeout: 5 * time.Second}).dial(t.Context(), a, "test")
	if err != nil {
		t.Fatal(err)
	}
	if got := <-pong; got != 4711 {
		t.Errorf("ping answered with %d", got)
	}
	close(end)
	<-c.done
	if err := c.failed(); !errors.Is(err, errClosedByServer) {
		t.Errorf("the end is %v", err)
	}
	c.close(context.Background())
}

func TestServerStatusEndsThePush(t *testing.T) {
	c := &conn{addr: &address{app: "live", name: "secret-key", full: true}}
	ended := command{name: "onStatus", args: []any{nil, object("level", "error", "code", "NetStream.Publish.Rejected", "description", "secret-key is in use")}}
	if err := c.serverStatus(ended); err == nil || strings.Contains(err.Error(), "secret-key") {
		t.Errorf("a rejection gives %v", err)
	}
	fine := command{name: "onStatus", args: []any{nil, object("level", "status", "code", "NetStream.Publish.Start")}}
	if err := c.serverStatus(fine); err != nil {
		t.Errorf("consent gives %v", err)
	}
}
