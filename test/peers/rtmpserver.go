package peers

import (
	_ "embed"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"testing"
	"text/template"
	"time"
)

// RTMPServer is nginx with its rtmp module. Its applications:
//
//	live    takes every stream, records it (Recordings) and serves it as HLS (HLSURL)
//	secret  takes streams with ?key=letmein, refuses others
//	nopub   refuses every stream
type RTMPServer struct {
	*Process
	Port     int // RTMP
	HTTPPort int
	dir      string
}

//go:embed nginx.conf.tmpl
var nginxConfig string

// StartRTMPServer starts an RTMP server and returns when it takes connections.
func StartRTMPServer(t testing.TB) *RTMPServer {
	t.Helper()
	p := Ports(t, 2)
	s := &RTMPServer{Port: p, HTTPPort: p + 1, dir: t.TempDir()}
	for _, d := range []string{"rec", "hls", "tmp"} {
		if err := os.MkdirAll(filepath.Join(s.dir, d), 0o755); err != nil {
			t.Fatalf("configure the RTMP server: %v", err)
		}
	}
	var module string
	for _, glob := range []string{"/usr/lib/nginx/modules/ngx_rtmp_module.so", "/usr/share/nginx/modules/ngx_rtmp_module.so", "/usr/lib64/nginx/modules/ngx_rtmp_module.so"} {
		if _, err := os.Stat(glob); err == nil {
			module = glob
		}
	}
	if module == "" {
		t.Fatal("nginx's rtmp module is not installed: run tools/install-test-deps.sh")
	}
	f, err := os.Create(s.config())
	if err != nil {
		t.Fatalf("configure the RTMP server: %v", err)
	}
	err = template.Must(template.New("").Parse(nginxConfig)).Execute(f, map[string]any{
		"Module": module, "Dir": s.dir, "Port": s.Port, "HTTPPort": s.HTTPPort})
	f.Close()
	if err != nil {
		t.Fatalf("configure the RTMP server: %v", err)
	}
	s.Start(t)
	return s
}

func (s *RTMPServer) config() string { return filepath.Join(s.dir, "nginx.conf") }

// Start starts the server again after [Process.Stop], on the same ports and with the same recordings.
func (s *RTMPServer) Start(t testing.TB) {
	t.Helper()
	s.Process = start(t, "rtmp-server", exec.Command(sbin("nginx"), "-c", s.config(), "-p", s.dir))
	s.await(t, "its ports", startTimeout, func() bool { return listens(s.Port) && listens(s.HTTPPort) })
}

// URL is the address of an application: "live", "secret", "nopub".
func (s *RTMPServer) URL(app string) string {
	return fmt.Sprintf("rtmp://127.0.0.1:%d/%s", s.Port, app)
}

// HLSURL is the playlist of a stream of the application live.
func (s *RTMPServer) HLSURL(stream string) string {
	return fmt.Sprintf("http://127.0.0.1:%d/hls/%s.m3u8", s.HTTPPort, stream)
}

// Recordings are the FLV files of a stream, oldest first. A file is complete when its publisher has gone.
func (s *RTMPServer) Recordings(t testing.TB, stream string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(s.dir, "rec", stream+"-*.flv"))
	if err != nil {
		t.Fatal(err)
	}
	sort.Strings(files) // NAME-<unix time>.flv
	return files
}

// Stat is the server's XML statistics: who publishes what.
func (s *RTMPServer) Stat(t testing.TB) string {
	t.Helper()
	c := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := c.Get(fmt.Sprintf("http://127.0.0.1:%d/stat", s.HTTPPort))
	if err != nil {
		t.Fatalf("statistics of the RTMP server: %v", err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("statistics of the RTMP server: %v", err)
	}
	return string(b)
}

// Publishing tells whether a stream is being published to any application.
func (s *RTMPServer) Publishing(t testing.TB, stream string) bool {
	t.Helper()
	for _, part := range strings.Split(s.Stat(t), "<stream>")[1:] {
		part, _, _ = strings.Cut(part, "</stream>")
		if strings.Contains(part, "<name>"+stream+"</name>") && strings.Contains(part, "<publishing/>") {
			return true
		}
	}
	return false
}

// Pause stops the process, so that the server takes connections but neither reads nor answers; Resume lets it go on.
func (s *RTMPServer) Pause(t testing.TB) { t.Helper(); s.Signal(syscall.SIGSTOP) }

// Resume ends a [RTMPServer.Pause].
func (s *RTMPServer) Resume(t testing.TB) { t.Helper(); s.Signal(syscall.SIGCONT) }
