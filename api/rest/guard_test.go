package rest

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

func from(addr string) func(*http.Request) { return func(r *http.Request) { r.RemoteAddr = addr } }
func with(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}
func host(h string) func(*http.Request) { return func(r *http.Request) { r.Host = h } }
func basic(u, p string) func(*http.Request) {
	return func(r *http.Request) { r.SetBasicAuth(u, p) }
}

func TestWhoMayAsk(t *testing.T) {
	users := Config{Users: []string{"admin:s:e:c", "öp:pä"}}
	open := Config{DisableAuth: true}
	const lan, page = "192.0.2.7:5000", "https://evil.example"
	for name, tc := range map[string]struct {
		cfg    Config
		change []func(*http.Request)
		want   int
		says   string
	}{
		"local":                     {Config{}, nil, 200, ""},
		"local IPv6":                {Config{}, []func(*http.Request){from("[::1]:1"), host("[::1]:8081")}, 200, ""},
		"local mapped":              {Config{}, []func(*http.Request){from("[::ffff:127.0.0.1]:1")}, 200, ""},
		"local by machine name":     {Config{}, []func(*http.Request){host("buster:8081")}, 200, ""},
		"elsewhere":                 {Config{}, []func(*http.Request){from(lan)}, 403, "rest_users"},
		"elsewhere says local":      {Config{}, []func(*http.Request){from(lan), with("X-Forwarded-For", "127.0.0.1")}, 403, "rest_users"},
		"local proxy":               {Config{}, []func(*http.Request){with("X-Forwarded-For", "127.0.0.1")}, 403, "proxy"},
		"local proxy, RFC 7239":     {Config{}, []func(*http.Request){with("Forwarded", "for=127.0.0.1")}, 403, "proxy"},
		"local proxy, nginx":        {Config{}, []func(*http.Request){with("X-Real-IP", "1.2.3.4")}, 403, "proxy"},
		"rebound name":              {Config{}, []func(*http.Request){host("evil.example:8081")}, 403, "local name"},
		"no host":                   {Config{}, []func(*http.Request){host("")}, 403, "local name"},
		"local page":                {Config{}, []func(*http.Request){with("Origin", "http://localhost:8000")}, 200, ""},
		"foreign page":              {Config{}, []func(*http.Request){with("Origin", page)}, 403, "evil.example"},
		"foreign page like local":   {Config{}, []func(*http.Request){with("Origin", "http://localhost.evil.example")}, 403, "evil.example"},
		"sandboxed page":            {Config{}, []func(*http.Request){with("Origin", "null")}, 403, "null"},
		"no peer":                   {Config{}, []func(*http.Request){from("@")}, 403, "rest_users"},
		"password without users":    {Config{}, []func(*http.Request){from(lan), basic("admin", "admin")}, 403, "rest_users"},
		"open":                      {open, []func(*http.Request){from(lan), with("Origin", page), host("media.example")}, 200, ""},
		"users, none given":         {users, nil, 401, "HTTP Basic"},
		"users, right":              {users, []func(*http.Request){from(lan), basic("admin", "s:e:c")}, 200, ""},
		"users, right behind proxy": {users, []func(*http.Request){with("X-Forwarded-For", "1.2.3.4"), basic("admin", "s:e:c")}, 200, ""},
		"users, second":             {users, []func(*http.Request){basic("öp", "pä")}, 200, ""},
		"users, crossed":            {users, []func(*http.Request){basic("admin", "pä")}, 401, "wrong"},
		"users, short":              {users, []func(*http.Request){basic("admin", "s:e:")}, 401, "wrong"},
		"users, empty":              {users, []func(*http.Request){basic("", "")}, 401, "wrong"},
		"users, broken header":      {users, []func(*http.Request){with("Authorization", "Basic ???")}, 401, "HTTP Basic"},
		"users, other scheme":       {users, []func(*http.Request){with("Authorization", "Bearer x")}, 401, "HTTP Basic"},
		"users win over open":       {Config{Users: users.Users, DisableAuth: true}, nil, 401, "HTTP Basic"},
		"form of a foreign page":    {users, []func(*http.Request){basic("admin", "s:e:c"), with("Origin", page), with("Content-Type", "text/plain")}, 403, "application/json"},
		"JSON of a foreign page":    {users, []func(*http.Request){basic("admin", "s:e:c"), with("Origin", page), with("Content-Type", "application/json;charset=UTF-8")}, 200, ""},
		"form of our page":          {users, []func(*http.Request){basic("admin", "s:e:c"), with("Origin", "http://127.0.0.1:8081")}, 200, ""},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAPI(t, tc.cfg, nil, nil)
			w := post(a, "/rest-api/box/find_all", "{}", tc.change...)
			require.Equal(t, tc.want, w.Code, w.Body)
			require.Contains(t, w.Body.String(), tc.says)
			require.Equal(t, tc.want == 401, w.Header().Get("WWW-Authenticate") != "")
			require.NotContains(t, w.Body.String(), "s:e:c")
		})
	}
}

func TestPreflight(t *testing.T) {
	for _, cfg := range []Config{{}, {Users: []string{"a:b"}}} {
		w := ask(newAPI(t, cfg, nil, nil), http.MethodOptions, "/rest-api/call/startup", "", from("192.0.2.1:1"), with("Origin", "http://pbx.example"),
			with("Access-Control-Request-Method", "POST"), with("Access-Control-Request-Headers", "content-type"))
		require.Equal(t, 204, w.Code, "a preflight never carries a password")
		require.Equal(t, "*", w.Header().Get("Access-Control-Allow-Origin"))
		require.Equal(t, "content-type,x-requested-with,authorization", w.Header().Get("Access-Control-Allow-Headers"))
		require.Equal(t, "GET,POST,OPTIONS", w.Header().Get("Access-Control-Allow-Methods"))
		require.Empty(t, w.Body.String())
	}
}

func TestOriginsBySetting(t *testing.T) {
	list := Config{AllowOrigin: "https://a.example, https://b.example", Headers: "X-One: 1; x-two:two words"}
	require.NoError(t, list.Validate())
	a := newAPI(t, list, nil, nil)
	for origin, want := range map[string]string{"https://b.example": "https://b.example", "https://c.example": "", "": ""} {
		w := ask(a, http.MethodOptions, "/rest-api/call/find", "", with("Origin", origin))
		require.Equal(t, want, w.Header().Get("Access-Control-Allow-Origin"), origin)
		require.Equal(t, "Origin", w.Header().Get("Vary"))
		require.Equal(t, "1", w.Header().Get("X-One"))
		require.Equal(t, "two words", w.Header().Get("X-Two"))
	}
	one := newAPI(t, Config{AllowOrigin: "https://a.example"}, nil, nil)
	require.Equal(t, "https://a.example", ask(one, http.MethodOptions, "/rest-api/x", "").Header().Get("Access-Control-Allow-Origin"))
}

func TestValidate(t *testing.T) {
	for _, users := range [][]string{{"admin"}, {":x"}, {"x:"}, {"good:x", "b"}} {
		c := Config{Users: users}
		err := c.Validate()
		require.ErrorContains(t, err, `setting "rest_users": element`)
		require.NotContains(t, err.Error(), users[0], "it may be a password")
	}
	for _, h := range []string{"nocolon", "bad name: x", "A: b\r\nC: d", ": x"} {
		c := Config{Headers: h}
		require.ErrorContains(t, c.Validate(), "rest_access_control_headers", h)
	}
	c := Config{Users: []string{"a:b"}}
	require.NoError(t, c.Validate())
}
