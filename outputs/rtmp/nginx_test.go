package rtmp

import (
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"lineout/test/media"
	"lineout/test/peers"
)

// eventually is how long a test waits for what must happen; it fails then.
const eventually = 30 * time.Second

func awaitStatus(t *testing.T, p *Push, want string) {
	t.Helper()
	peers.Eventually(t, want, eventually, func() bool { return p.Status() == want })
}

func TestNginxRecordsPictureAndSoundTogether(t *testing.T) {
	server := peers.StartRTMPServer(t)
	cfg := testConfig()
	cfg.QueueDelay = time.Minute // fed faster than real time
	r := newRig(t, cfg)
	stream := r.stream(t, "call1")
	src := newSource(t, stream)
	src.answer()
	p, err := r.Start(stream, Target{URL: server.URL("live"), Name: "call1"})
	if err != nil {
		t.Fatal(err)
	}
	awaitStatus(t, p, StatusActive)
	const length = 12 * time.Second
	src.feed(length)
	stream.Close("test")
	<-stream.Done()
	report := recording(t, server, "rtmp_call1", 0)
	if v := report.Video; v == nil || v.Codec != "h264" || v.Size != "640x360" || v.Lost != 0 || v.Backward != 0 || v.NotForward != 0 || v.Frames != 300 {
		t.Errorf("picture is not what was sent: %v", report)
	}
	if a := report.Audio; a == nil || a.Codec != "aac" || a.Rate != 48000 || a.Channels != 1 || a.Jumps != 0 || a.Gaps != 0 {
		t.Errorf("sound is not what was sent: %v", report)
	}
	if s := report.Sync; s == nil || s.MedianMillis < -5 || s.MedianMillis > 5 || s.Pairs < 10 {
		t.Errorf("sound and picture are apart: %v", report)
	}
	if report.DecodeErrors != 0 {
		t.Errorf("decoding errors: %v", report)
	}
	t.Logf("%v", report)
}

// The way of a call: PCMA becomes AAC on the way, in real time, and still the
// beep is at the flash.
func TestNginxRecordsACall(t *testing.T) {
	server := peers.StartRTMPServer(t)
	r := newRig(t, testConfig())
	stream := r.stream(t, "call9")
	src := newCall(t, stream)
	p, err := r.Start(stream, Target{URL: server.URL("live"), Name: "call9"})
	if err != nil {
		t.Fatal(err)
	}
	if p.Status() != StatusWait {
		t.Errorf("status %s before the answer", p.Status())
	}
	src.answer()
	stop := src.play(t)
	peers.Eventually(t, "six seconds of pictures", eventually, func() bool {
		return p.stats().Frames > 6*(25+47)
	})
	stop()
	stream.Close("test")
	<-stream.Done()
	report := recording(t, server, "rtmp_call9", 0)
	if v := report.Video; v == nil || v.Lost != 0 || v.Backward != 0 || v.NotForward != 0 || v.Frames < 145 {
		t.Errorf("picture is not what was sent: %v", report)
	}
	if a := report.Audio; a == nil || a.Codec != "aac" || a.Rate != 48000 || a.Gaps != 0 || a.Holes != 0 {
		t.Errorf("sound is not what was sent: %v", report)
	}
	if s := report.Sync; s == nil || s.MedianMillis < -40 || s.MedianMillis > 40 || s.Pairs < 4 {
		t.Errorf("sound and picture are apart: %v", report)
	}
	t.Logf("%v", report)
}

// G.711 goes through as it is, where rtmp_audio_codecs says that the server
// takes it.
func TestNginxRecordsG711(t *testing.T) {
	server := peers.StartRTMPServer(t)
	c := testConfig()
	c.AudioCodecs = []string{"ALAW", "aac"}
	r := newRig(t, c)
	stream := r.stream(t, "call8")
	src := newCall(t, stream)
	p, err := r.Start(stream, Target{URL: server.URL("live"), Name: "call8"})
	if err != nil {
		t.Fatal(err)
	}
	src.answer()
	stop := src.play(t)
	peers.Eventually(t, "five seconds", eventually, func() bool { return p.stats().Frames > 5*(25+50) })
	if n := len(stream.Graph().Converters); n != 0 {
		t.Errorf("%d conversions for sound that passes", n)
	}
	stop()
	stream.Close("test")
	<-stream.Done()
	report := recording(t, server, "rtmp_call8", 0)
	if a := report.Audio; a == nil || a.Codec != "pcm_alaw" || a.Rate != 8000 || a.Channels != 1 || a.Gaps != 0 || a.Holes != 0 {
		t.Errorf("sound is not what was sent: %v", report)
	}
	if s := report.Sync; s == nil || s.MedianMillis < -40 || s.MedianMillis > 40 || s.Pairs < 3 {
		t.Errorf("sound and picture are apart: %v", report)
	}
	t.Logf("%v", report)
}

// recording measures the n-th recording of a stream once it is complete.
func recording(t *testing.T, server *peers.RTMPServer, name string, n int) *media.Report {
	t.Helper()
	peers.Eventually(t, name+" is no longer published", eventually, func() bool { return !server.Publishing(t, name) })
	files := server.Recordings(t, name)
	if len(files) <= n {
		t.Fatalf("there are %d recordings of %s, want more than %d", len(files), name, n)
	}
	report, err := media.Measure(t.Context(), files[n], media.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func TestNginxGoneAndBack(t *testing.T) {
	server := peers.StartRTMPServer(t)
	r := newRig(t, testConfig())
	stream := r.stream(t, "call2")
	src := newSource(t, stream)
	var seen states
	p, err := r.Start(stream, Target{URL: server.URL("live"), Name: "call2", OnState: seen.add})
	if err != nil {
		t.Fatal(err)
	}
	src.answer()
	src.play(t)
	awaitStatus(t, p, StatusActive)
	peers.Eventually(t, "media arrives", eventually, func() bool { return p.stats().Frames > 100 })
	server.Stop()
	awaitStatus(t, p, StatusLost)
	// Long enough for several tries against a closed port.
	peers.Eventually(t, "tries without a server", eventually, func() bool { return p.stats().Retries >= 3 })
	server.Start(t)
	awaitStatus(t, p, StatusActive)
	again := p.stats().Frames
	peers.Eventually(t, "media arrives again", eventually, func() bool { return p.stats().Frames > again+100 })
	stream.Close("test")
	<-stream.Done()
	if got, want := seen.all(), []string{StatusActive, StatusLost, StatusActive}; !slices.Equal(got, want) {
		t.Errorf("states %v, want %v", got, want)
	}
	recording(t, server, "rtmp_call2", 0)
	files := server.Recordings(t, "rtmp_call2")
	if len(files) != 2 {
		t.Fatalf("recordings: %v, want 2", files)
	}
	first, second := flvStamps(t, files[0]), flvStamps(t, files[1])
	if len(first) < 100 || len(second) < 100 {
		t.Fatalf("recordings hold %d and %d tags", len(first), len(second))
	}
	all := append(first, second...)
	t.Logf("first recording %v-%v ms, second %v-%v ms", first[0].ms, first[len(first)-1].ms, second[0].ms, second[len(second)-1].ms)
	checkStamps(t, first)
	checkStamps(t, second)
	if all[0].ms > 500 {
		t.Errorf("timestamps begin at %d ms", all[0].ms)
	}
}

// checkStamps fails unless timestamps grow within each track.
func checkStamps(t *testing.T, tags []flvTag) {
	t.Helper()
	last := map[byte]int{}
	for _, tag := range tags {
		if l, ok := last[tag.typ]; ok && tag.ms < l {
			t.Errorf("tag type %d goes back from %d to %d ms", tag.typ, l, tag.ms)
		}
		last[tag.typ] = tag.ms
	}
}

// flvTag is the head of a media tag in an FLV file.
type flvTag struct {
	typ byte
	ms  int
}

func flvStamps(t *testing.T, file string) (tags []flvTag) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for b = b[13:]; len(b) >= 11; {
		size := int(b[1])<<16 | int(b[2])<<8 | int(b[3])
		if b[0] == typeAudio || b[0] == typeVideo {
			tags = append(tags, flvTag{b[0], int(b[7])<<24 | int(b[4])<<16 | int(b[5])<<8 | int(b[6])})
		}
		b = b[min(11+size+4, len(b)):]
	}
	return tags
}

func TestNginxThatStopsReading(t *testing.T) {
	server := peers.StartRTMPServer(t)
	cfg := testConfig()
	cfg.WriteTimeout = time.Second
	r := newRig(t, cfg)
	stream := r.stream(t, "call3")
	src := newSource(t, stream)
	src.answer()
	src.play(t)
	p, err := r.Start(stream, Target{URL: server.URL("live"), Name: "call3"})
	if err != nil {
		t.Fatal(err)
	}
	awaitStatus(t, p, StatusActive)
	server.Pause(t)
	start := time.Now()
	awaitStatus(t, p, StatusLost)
	t.Logf("noticed after %v", time.Since(start).Round(10*time.Millisecond))
	server.Resume(t)
	awaitStatus(t, p, StatusActive)
	if err := p.Terminate(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestNginxRefuses(t *testing.T) {
	server := peers.StartRTMPServer(t)
	r := newRig(t, testConfig())
	stream := r.stream(t, "call4")
	src := newSource(t, stream)
	src.answer()
	src.play(t)
	for name, url := range map[string]string{
		"publishing denied": server.URL("nopub"),
		"wrong key":         server.URL("secret") + "?key=forgotten-word",
		"no such app":       server.URL("nothing"),
	} {
		t.Run(name, func(t *testing.T) {
			var seen states
			p, err := r.Start(stream, Target{URL: url, Name: "call4", OnState: seen.add})
			if err != nil {
				t.Fatal(err)
			}
			awaitStatus(t, p, StatusFailed)
			peers.Eventually(t, "another try", eventually, func() bool { return p.stats().Retries >= 2 })
			if err := p.Terminate(t.Context()); err != nil {
				t.Error(err)
			}
			if got := seen.all(); !slices.Equal(got, []string{StatusFailed}) {
				t.Errorf("states %v", got)
			}
			t.Log(p.att.Err())
		})
	}
	if strings.Contains(r.log.String(), "forgotten-word") {
		t.Error("the key of the URL is in the log")
	}
}

func TestNginxTakesTheKey(t *testing.T) {
	server := peers.StartRTMPServer(t)
	r := newRig(t, testConfig())
	stream := r.stream(t, "call5")
	src := newSource(t, stream)
	src.answer()
	src.play(t)
	inName, err := r.Start(stream, Target{URL: server.URL("secret") + "/plain?key=letmein", FullURL: true})
	if err != nil {
		t.Fatal(err)
	}
	awaitStatus(t, inName, StatusActive)
	peers.Eventually(t, "plain is published", eventually, func() bool { return server.Publishing(t, "plain") })
	if n := inName.Name(); n != "call5" {
		t.Errorf("a full URL's push is named %q", n)
	}
	if strings.Contains(r.log.String(), "letmein") {
		t.Error("the key is in the log")
	}
}

func TestNginxByTLS(t *testing.T) {
	server := peers.StartRTMPServer(t)
	proxy := httptest.NewUnstartedServer(nil) // for its certificate, which names 127.0.0.1
	proxy.StartTLS()
	cert := proxy.TLS.Certificates[0]
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: proxy.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	proxy.Close()
	port := tlsProxy(t, cert, server.Port)
	url := fmt.Sprintf("rtmps://127.0.0.1:%d/live", port)

	strict := newRig(t, testConfig())
	stream := strict.stream(t, "call6")
	newSource(t, stream).answer()
	p, err := strict.Start(stream, Target{URL: url, Name: "call6"})
	if err != nil {
		t.Fatal(err)
	}
	src := newSource(t, stream)
	src.video, src.audio = stream.Tracks()[1], stream.Tracks()[0]
	src.play(t)
	awaitStatus(t, p, StatusFailed)
	if err := p.att.Err(); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("an unknown certificate gives %v", err)
	}

	cfg := testConfig()
	cfg.CAFile = ca
	trusting := newRig(t, cfg)
	stream = trusting.stream(t, "call7")
	src = newSource(t, stream)
	src.answer()
	src.play(t)
	if p, err = trusting.Start(stream, Target{URL: url, Name: "call7"}); err != nil {
		t.Fatal(err)
	}
	awaitStatus(t, p, StatusActive)
	peers.Eventually(t, "published", eventually, func() bool { return server.Publishing(t, "rtmp_call7") })
}

// tlsProxy takes TLS connections and passes them on to a port of 127.0.0.1.
func tlsProxy(t *testing.T, cert tls.Certificate, to int) (port int) {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer in.Close()
				out, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", to))
				if err != nil {
					return
				}
				defer out.Close()
				wg.Go(func() { io.Copy(in, out); in.Close() })
				io.Copy(out, in)
			})
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return l.Addr().(*net.TCPAddr).Port
}

// ffmpeg as a server answers with less than others do (no transaction ids in
// some answers) and is taken by one publisher.
func TestFFmpegListens(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out.flv")
	port := peers.Ports(t, 1)
	url := fmt.Sprintf("rtmp://127.0.0.1:%d/live", port)
	cmd := exec.Command("ffmpeg", "-v", "error", "-nostdin", "-listen", "1", "-i", url+"/rtmp_call8", "-c", "copy", out)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() { cmd.Process.Kill(); <-ended })
	cfg := testConfig()
	cfg.QueueDelay = time.Minute
	r := newRig(t, cfg)
	stream := r.stream(t, "call8")
	src := newSource(t, stream)
	src.answer()
	p, err := r.Start(stream, Target{URL: url, Name: "call8"})
	if err != nil {
		t.Fatal(err)
	}
	src.feed(200 * time.Millisecond)
	awaitStatus(t, p, StatusActive) // once ffmpeg listens
	src.feed(8 * time.Second)
	stream.Close("test")
	<-stream.Done()
	err = <-ended
	ended <- err
	report, err := media.Measure(t.Context(), out, media.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if report.Video == nil || report.Audio == nil || report.Sync == nil || report.Video.Frames < 150 || report.Video.Lost != 0 ||
		report.Audio.Jumps != 0 || report.Sync.MedianMillis < -5 || report.Sync.MedianMillis > 5 {
		t.Errorf("%v", report)
	}
	t.Logf("%v", report)
}
