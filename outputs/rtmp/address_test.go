package rtmp

import (
	"lineout/api/mask"
	"strings"
	"testing"
)

func TestParseAddress(t *testing.T) {
	for _, c := range []struct {
		name, url string
		full      bool
		want      address
	}{
		{"plain", "rtmp://h/live", false,
			address{hostname: "h", dial: "h:1935", app: "live", tcURL: "rtmp://h/live", name: "rtmp_s"}},
		{"trailing slash and port", "rtmp://localhost:1936/live/", false,
			address{hostname: "localhost", dial: "localhost:1936", app: "live", tcURL: "rtmp://localhost:1936/live", name: "rtmp_s"}},
		{"instance and query reach the server (S2-22)", "rtmp://rtmp-server:1935/live/_definst_?param1=value1&param2=value2", false,
			address{hostname: "rtmp-server", dial: "rtmp-server:1935", app: "live/_definst_?param1=value1&param2=value2",
				tcURL: "rtmp://rtmp-server:1935/live/_definst_?param1=value1&param2=value2", name: "rtmp_s"}},
		{"slash before the query", "rtmp://h/live/?k=a/b", false,
			address{hostname: "h", dial: "h:1935", app: "live?k=a/b", tcURL: "rtmp://h/live?k=a/b", name: "rtmp_s"}},
		{"rtmps", "RTMPS://h/live", false,
			address{tls: true, hostname: "h", dial: "h:443", app: "live", tcURL: "rtmps://h/live", name: "rtmp_s"}},
		{"credentials", "rtmp://name:p%40ss%2Fw@server:1935/live", false,
			address{hostname: "server", dial: "server:1935", user: "name", pass: "p@ss/w", app: "live", tcURL: "rtmp://server:1935/live", name: "rtmp_s"}},
		{"IPv6", "rtmp://[::1]:1935/live", false,
			address{hostname: "::1", dial: "[::1]:1935", app: "live", tcURL: "rtmp://[::1]:1935/live", name: "rtmp_s"}},
		{"full, YouTube style", "rtmp://a.rtmp.youtube.com/live2/abcd-efgh", true,
			address{hostname: "a.rtmp.youtube.com", dial: "a.rtmp.youtube.com:1935", app: "live2", tcURL: "rtmp://a.rtmp.youtube.com/live2", name: "abcd-efgh", full: true}},
		{"full, Facebook style", "rtmps://live-api-s.facebook.com:443/rtmp/FB-1?s_bl=1&a=x/y", true,
			address{tls: true, hostname: "live-api-s.facebook.com", dial: "live-api-s.facebook.com:443", app: "rtmp",
				tcURL: "rtmps://live-api-s.facebook.com:443/rtmp", name: "FB-1?s_bl=1&a=x/y", full: true}},
		{"full with instance", "rtmp://h/app/inst/key", true,
			address{hostname: "h", dial: "h:1935", app: "app/inst", tcURL: "rtmp://h/app/inst", name: "key", full: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := parseAddress(c.url, "rtmp_s", c.full)
			if err != nil {
				t.Fatal(err)
			}
			if *got != c.want {
				t.Errorf("got  %+v\nwant %+v", *got, c.want)
			}
		})
	}
}

func TestParseAddressRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		url, says string
		full      bool
	}{
		"missing":        {url: " ", says: "missing"},
		"other scheme":   {url: "http://h/live", says: "rtmp://"},
		"no scheme":      {url: "h/live", says: "rtmp://"},
		"no host":        {url: "rtmp:///live", says: "host"},
		"no application": {url: "rtmp://h", says: "application"},
		"only a slash":   {url: "rtmp://h/?a=b", says: "application"},
		"bad port":       {url: "rtmp://h:99999/live", says: "port"},
		"port 0":         {url: "rtmp://h:0/live", says: "port"},
		"empty port":     {url: "rtmp://h:/live", says: "port"},
		"named port":     {url: "rtmp://h:http/live", says: "host:port"},
		"space":          {url: "rtmp://h/li ve", says: "space"},
		"line end":       {url: "rtmp://h/live\r\nX", says: "space or a control"},
		"too long":       {url: "rtmp://h/" + strings.Repeat("x", 5000), says: "longer"},
		"full, no name":  {url: "rtmp://h/live", says: "ends in no stream name", full: true},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parseAddress(c.url, "rtmp_s", c.full)
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want an error that says %q", err, c.says)
			}
		})
	}
}

func TestSecretsStayInside(t *testing.T) {
	a, err := parseAddress("rtmp://name:passw0rd@h/live/KEY-1234?sig=topsecret", "", true)
	if err != nil {
		t.Fatal(err)
	}
	text := a.String() + a.tcURL + a.clean("Publish of KEY-1234?sig=topsecret by passw0rd\r\nrefused: KEY-1234") + mask.URL("rtmp://name:passw0rd@h/live")
	b, err := parseAddress("rtmp://h/live?token=topsecret", "rtmp_s", false)
	if err != nil {
		t.Fatal(err)
	}
	text += b.String() + b.clean("bad token topsecret")
	_, err = parseAddress("rtmp://name:pass/w0rd@h/live", "", false)
	if err == nil {
		t.Fatal("an unescaped slash in a password is accepted")
	}
	text += err.Error()
	for _, secret := range []string{"passw0rd", "w0rd", "KEY-1234", "topsecret"} {
		if strings.Contains(text, secret) {
			t.Errorf("%q is in %q", secret, text)
		}
	}
	if strings.ContainsAny(text, "\r\n") {
		t.Errorf("line ends in %q", text)
	}
}

func TestSamePlace(t *testing.T) {
	key := func(url, name string, full bool) string {
		a, err := parseAddress(url, name, full)
		if err != nil {
			t.Fatal(err)
		}
		return a.key()
	}
	base := key("rtmp://Host:1935/live/", "rtmp_s", false)
	for _, same := range []string{
		key("rtmp://host/live", "rtmp_s", false),
		key("rtmp://user:pw@host/live", "rtmp_s", false),
		key("rtmp://host/live/rtmp_s", "", true),
	} {
		if same != base {
			t.Errorf("%q is not %q", same, base)
		}
	}
	for _, other := range []string{
		key("rtmps://host:1935/live", "rtmp_s", false),
		key("rtmp://host/live2", "rtmp_s", false),
		key("rtmp://host/live", "rtmp_t", false),
	} {
		if other == base {
			t.Errorf("%q is taken for the same place", other)
		}
	}
}

func FuzzParseAddress(f *testing.F) {
	for _, s := range []string{"rtmp://h/live", "rtmps://u:p@h:1/a/b?c=d", "rtmp://[::1]/x/y/z?", "rtmp://h//k", "rtmp://h/?", "rtmp://%41/live", "rtmp://h/a#b/c"} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, raw string, full bool) {
		a, err := parseAddress(raw, "rtmp_s", full)
		if err != nil {
			return
		}
		if a.hostname == "" || a.name == "" || a.dial == "" || len(a.tcURL) > 2*maxURL {
			t.Errorf("%q gives %+v", raw, *a)
		}
		if a.pass != "" && len(a.pass) > 8 && strings.Contains(a.tcURL, ":"+a.pass+"@") {
			t.Errorf("%q: the password is in tcUrl %q", raw, a.tcURL)
		}
		again, err := parseAddress(a.tcURL, "rtmp_s", false)
		if !full && (err != nil || again.key() != a.key()) {
			t.Errorf("%q: tcUrl %q is read as %+v, %v", raw, a.tcURL, again, err)
		}
		mask.URL(raw)
	})
}
