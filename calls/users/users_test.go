package users

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	here = netip.MustParseAddr("127.0.0.1")
	lan  = netip.MustParseAddr("192.0.2.7")
)

func directory(t testing.TB, c Config, own ...string) *Directory {
	t.Helper()
	if c.Domains == nil {
		c.Domains = []string{"pbx.example", "localhost", "127.0.0.1", "::1"}
	}
	d, err := New(c, slog.New(slog.DiscardHandler), own...)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestCheck(t *testing.T) {
	d := directory(t, Config{Users: []string{"login=1001 password=one", `login=1002 password="two words"`}}, "198.51.100.1", "")
	for _, c := range []struct {
		login, domain, password string
		want                    error
	}{
		{"1001", "pbx.example", "one", nil},
		{"1001", "PBX.Example.", "one", nil},
		{"1001", "198.51.100.1", "one", nil},
		{"1001", "[::1]", "one", nil},
		{"1002", "localhost", "two words", nil},
		{"1002", "localhost", "one", ErrWrong},
		{"1003", "localhost", "", ErrWrong},
		{"1001", "localhost", "", ErrWrong},
		{"1001", "elsewhere.example", "one", ErrDomain},
		{"", "localhost", "", errBadLogin},
		{"a@b", "localhost", "", errBadLogin},
	} {
		for _, from := range []netip.Addr{here, lan} {
			if err := d.Check(c.login, c.domain, c.password, from); err != c.want {
				t.Errorf("%s@%s from %v: %v, want %v", c.login, c.domain, from, err, c.want)
			}
		}
	}
	if d.Open(here) || !d.Known("1001") || d.Known("1003") || d.Local("") || d.Account("1001") != "1001@pbx.example" {
		t.Error("a directory with accounts")
	}
}

// TestOpenToThisMachine: with no accounts, programs on this machine may have any login.
func TestOpenToThisMachine(t *testing.T) {
	d := directory(t, Config{})
	for addr, want := range map[string]error{"127.0.0.1": nil, "127.3.2.1": nil, "::1": nil, "::ffff:127.0.0.1": nil, "192.0.2.7": ErrNotHere, "2001:db8::1": ErrNotHere} {
		if err := d.Check("anybody", "localhost", "", netip.MustParseAddr(addr)); err != want {
			t.Errorf("%s: %v, want %v", addr, err, want)
		}
	}
	if _, ok := d.HA1("anybody", "lineout", "MD5"); ok || !d.Known("anybody") || d.Known("") {
		t.Error("a directory without accounts")
	}
}

func TestDigests(t *testing.T) {
	d := directory(t, Config{Users: []string{"login=1001 password=one"}})
	want := md5.Sum([]byte("1001:lineout:one"))
	if h, ok := d.HA1("1001", "lineout", "md5"); !ok || h != hex.EncodeToString(want[:]) {
		t.Error(h)
	}
	for algorithm, n := range map[string]int{"": 32, "SHA-256": 64, "SHA-512-256": 64} {
		h, ok := d.HA1("1001", "lineout", algorithm)
		if !ok || len(h) != n {
			t.Errorf("%s: %s", algorithm, h)
		}
		if err := d.Digest("1001", "lineout", algorithm, lan, func(x string) bool { return x == h }); err != nil {
			t.Errorf("%s: %v", algorithm, err)
		}
	}
	called := false
	err := d.Digest("1009", "lineout", "MD5", lan, func(string) bool { called = true; return true })
	if err != ErrWrong || !called {
		t.Errorf("a login that does not exist: %v", err)
	}
	if err := d.Digest("1001", "lineout", "SHA-1", lan, func(string) bool { return true }); err != ErrWrong {
		t.Errorf("an unknown algorithm: %v", err)
	}
}

// TestFailedTriesAreLimited: by login and address, then by address; success costs nothing.
func TestFailedTriesAreLimited(t *testing.T) {
	d := directory(t, Config{Users: []string{"login=1001 password=one", "login=1002 password=two"}})
	now := time.Unix(1e9, 0)
	d.now = func() time.Time { return now }
	check := func(login, password string, from netip.Addr) error {
		return d.Check(login, "localhost", password, from)
	}
	for range 1000 {
		if err := check("1001", "one", lan); err != nil {
			t.Fatal(err)
		}
	}
	for range loginBurst {
		if err := check("1001", "guess", lan); err != ErrWrong {
			t.Fatal(err)
		}
	}
	if err := check("1001", "one", lan); err != ErrLimited {
		t.Errorf("after %d failures: %v", loginBurst, err)
	}
	if err := errors.Join(check("1002", "two", lan), check("1001", "one", here)); err != nil {
		t.Errorf("others are locked out: %v", err)
	}
	now = now.Add(10 * time.Second)
	if err := check("1001", "one", lan); err != nil {
		t.Errorf("10 s later: %v", err)
	}
	for i := range 200 {
		_ = check("nobody"+strings.Repeat("x", i), "guess", lan)
	}
	if err := check("1002", "two", lan); err != ErrLimited {
		t.Errorf("an address that tries many logins: %v", err)
	}
	if err := check("1002", "two", here); err != nil {
		t.Errorf("another address: %v", err)
	}
}

func TestFaultsOfSettings(t *testing.T) {
	for _, c := range []struct {
		entry, want string
	}{
		{"password=secret1", "users: entry 1: login= is missing"},
		{"login=a", "users: entry 1: password= is missing"},
		{"login=a@b password=secret1", "word 1 (login)"},
		{"login=a password=secret1\x01", "word 2 (password)"},
		{"login=a secret1", "is not key=value"},
	} {
		cfg := Config{Users: []string{c.entry}, Domains: []string{"localhost"}}
		err := cfg.Validate()
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "password=secret1") {
			t.Errorf("%q: %v", c.entry, err)
		}
	}
	twice := Config{Users: []string{"login=a password=b", "login=a password=c"}, Domains: []string{"a b"}}
	if err := twice.Validate(); err == nil || !strings.Contains(err.Error(), "entry 2: the login a stands twice") || !strings.Contains(err.Error(), `users_domains: "a b"`) {
		t.Error(err)
	}
}

// TestFileIsReadAgain: a changed file counts, one with a fault does not.
func TestFileIsReadAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users")
	if _, err := New(Config{File: path, Domains: []string{"localhost"}}, slog.Default()); err == nil || !strings.Contains(err.Error(), path) {
		t.Fatalf("without the file: %v", err)
	}
	stamped := time.Unix(1e9, 0)
	write := func(text string) {
		t.Helper()
		stamped = stamped.Add(time.Second)
		if err := errors.Join(os.WriteFile(path, []byte(text), 0o600), os.Chtimes(path, stamped, stamped)); err != nil {
			t.Fatal(err)
		}
	}
	write("# staff\nlogin=1001 password=one\n\n")
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		d, err := New(Config{File: path, Users: []string{"login=1000 password=zero"}, Domains: []string{"localhost"}}, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- d.Run(ctx) }()
		turn := func(text string) {
			write(text)
			time.Sleep(2 * lookEvery)
			synctest.Wait()
		}
		if !d.Known("1000") || !d.Known("1001") {
			t.Error("the first reading")
		}
		turn("login=1002 password=two\r\nlogin=1000 password=other")
		if !d.Known("1000") || d.Known("1001") || !d.Known("1002") || d.Check("1000", "localhost", "zero", lan) != nil {
			t.Error("the second reading")
		}
		turn("login=1003 password=hush\nlogin=1004")
		if !d.Known("1002") || d.Known("1003") {
			t.Error("a file with a fault counts")
		}
		turn("login=1005 password=five")
		if !d.Known("1005") {
			t.Error("the fault is mended")
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if s := log.String(); !strings.Contains(s, "line 2: password= is missing") || strings.Contains(s, "hush") || strings.Contains(s, "five ") {
			t.Errorf("log:\n%s", s)
		}
	})
}

func FuzzFile(f *testing.F) {
	f.Add("login=1001 password=one\n# x\n\nlogin=1002 password=\"a b\"\n")
	f.Add("login=")
	f.Add("password=hidden login=a\x00")
	f.Fuzz(func(t *testing.T, text string) {
		found, err := parseFile(text)
		for login, password := range found {
			if !isLogin(login) || password == "" || len(password) > maxName {
				t.Fatalf("%q %q", login, password)
			}
		}
		if err == nil {
			return
		}
		if n := len(err.Error()); n > 10*300 {
			t.Fatalf("an error of %d bytes", n)
		}
	})
}
