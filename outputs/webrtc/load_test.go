package webrtc

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pion/interceptor"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"lineout/calls/rtc/transport"
	"lineout/codecs/g711"
	"lineout/codecs/h264"
	"lineout/media"
	"lineout/outputs"
	"lineout/pipeline"
)

// The load benchmark runs three processes, so that the server's CPU and memory
// can be told from the players': this test binary again, as told by roleEnv.
const (
	roleEnv     = "LINEOUT_LOAD_ROLE" // server, yardstick, players
	loadViewers = 100
	loadSeconds = 8
)

// runRole is what a child process does; false if this process is no child.
func runRole() bool {
	var err error
	switch role := os.Getenv(roleEnv); role {
	case "":
		return false
	case "players":
		err = runPlayers()
	default:
		err = runServer(role)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return true
}

// BenchmarkViewers compares us with a plain pion loop under the same call and
// the same players: CPU per viewer-second, memory per viewer, added latency.
func BenchmarkViewers(b *testing.B) {
	for b.Loop() {
		cpu := map[string]float64{}
		for _, role := range []string{"yardstick", "server", "yardstick", "server"} {
			r := loadRun(b, role)
			cpu[role] += r.CPU / 2
			b.Logf("%s: %.3f ms CPU per viewer-second, %.3f MiB per viewer, latency p50 %.2f ms, p99 %.2f ms", role, r.CPU, r.RSS, r.P50, r.P99)
			if role == "server" {
				b.ReportMetric(r.RSS, "MiB/viewer")
				b.ReportMetric(r.P50, "p50-ms")
				b.ReportMetric(r.P99, "p99-ms")
			} else {
				b.ReportMetric(r.RSS, "yardstick-MiB/viewer")
				b.ReportMetric(r.P50, "yardstick-p50-ms")
				b.ReportMetric(r.P99, "yardstick-p99-ms")
			}
		}
		b.ReportMetric(cpu["server"], "CPU-ms/viewer-s")
		b.ReportMetric(cpu["yardstick"], "yardstick-CPU-ms/viewer-s")
		b.ReportMetric(cpu["server"]/cpu["yardstick"], "ratio")
	}
	b.ReportMetric(0, "ns/op")
}

// loadResult is what both children say in the end; one fills what it knows.
type loadResult struct {
	CPU, RSS, P50, P99 float64
	Packets            int
}

type child struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

func startChild(b *testing.B, role string, env ...string) *child {
	c := &child{cmd: exec.Command(os.Args[0], "-test.run=NONE")}
	c.cmd.Env = append(os.Environ(), append(env, roleEnv+"="+role)...)
	c.cmd.Stderr = os.Stderr
	var err error
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		b.Fatal(err)
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	c.out = bufio.NewScanner(out)
	if err := c.cmd.Start(); err != nil {
		b.Fatal(err)
	}
	return c
}

func (c *child) line(b *testing.B) string {
	if !c.out.Scan() {
		b.Fatalf("a child of the benchmark ended early: %v", c.cmd.Wait())
	}
	return c.out.Text()
}

func (c *child) say(s string) { _, _ = io.WriteString(c.in, s+"\n") }

func (c *child) result(b *testing.B) loadResult {
	var r loadResult
	if err := json.Unmarshal([]byte(c.line(b)), &r); err != nil {
		b.Fatal(err)
	}
	_ = c.in.Close()
	_ = c.cmd.Wait()
	return r
}

func loadRun(b *testing.B, role string) loadResult {
	srv := startChild(b, role)
	url := srv.line(b)
	players := startChild(b, "players", "LINEOUT_LOAD_URL="+url, "LINEOUT_LOAD_N="+strconv.Itoa(loadViewers))
	players.line(b) // all play
	srv.say("begin")
	players.say("begin")
	time.Sleep(loadSeconds * time.Second)
	srv.say("end")
	r := srv.result(b)
	players.say("end")
	p := players.result(b)
	r.P50, r.P99 = p.P50, p.P99
	if want := loadViewers * loadSeconds * 90; p.Packets < want {
		b.Errorf("%s: players got %d packets, at least %d were sent", role, p.Packets, want)
	}
	return r
}

// loadCall writes 25 pictures of two packets and 50 sounds a second, each with
// the time it was written, until the process ends.
func loadCall(video func(key bool, pts time.Duration, ps [][]byte), audio func(pts time.Duration, p []byte)) {
	start := time.Now()
	for n := 0; ; n++ {
		at := time.Duration(n) * 20 * time.Millisecond
		time.Sleep(time.Until(start.Add(at)))
		p := make([]byte, 160)
		binary.BigEndian.PutUint64(p, uint64(time.Now().UnixNano()))
		audio(at, p)
		if n%2 == 0 {
			var ps [][]byte
			for i := range 2 {
				p := make([]byte, 1100)
				p[0], p[1] = 28, []byte{0x81, 0x41}[i]
				if n%50 == 0 {
					p[1] = []byte{0x85, 0x45}[i]
				}
				binary.BigEndian.PutUint64(p[2:], uint64(time.Now().UnixNano()))
				ps = append(ps, p)
			}
			video(n%50 == 0, at, ps)
		}
	}
}

func runServer(role string) error {
	log := slog.New(slog.DiscardHandler)
	hub := pipeline.NewHub(pipeline.HubConfig{Codecs: table(), Log: log, FlushTimeout: time.Second})
	c := DefaultConfig()
	c.IPLocal = "127.0.0.1"
	svc, err := New(outputs.Env{Streams: hub, Codecs: table(), Log: log}, c)
	if err != nil {
		return err
	}
	go func() { _ = hub.Run(context.Background()) }()
	go func() { _ = svc.Run(context.Background()) }()
	time.Sleep(200 * time.Millisecond)
	mux := http.NewServeMux()
	if role == "yardstick" {
		mux.Handle("/", yardstick(svc.transport, c))
	} else {
		if err := loadStream(hub); err != nil {
			return err
		}
		for p, h := range svc.Routes() {
			mux.Handle(p, h)
		}
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go func() { _ = http.Serve(ln, mux) }()
	runtime.GC()
	before := rss()
	fmt.Printf("http://%s/whep/call\n", ln.Addr())
	in := bufio.NewScanner(os.Stdin)
	in.Scan()
	begin, cpu := time.Now(), cpuTime()
	in.Scan()
	used, wall := cpuTime()-cpu, time.Since(begin)
	return json.NewEncoder(os.Stdout).Encode(loadResult{
		CPU: used.Seconds() * 1000 / wall.Seconds() / loadViewers,
		RSS: float64(rss()-before) / loadViewers / (1 << 20),
	})
}

func loadStream(hub *pipeline.Hub) error {
	st, err := hub.Create("call", pipeline.Meta{})
	if err != nil {
		return err
	}
	at := &media.Track{ID: "audio", Kind: media.Audio, Codec: g711.PCMA, ClockRate: 8000, Channels: 1}
	vt := &media.Track{ID: "video", Kind: media.Video, Codec: h264.Name, ClockRate: 90000}
	st.AddTrack(at)
	st.AddTrack(vt)
	st.SetReady()
	params := &media.Params{Sets: [][]byte{testSPS, testPPS}}
	go loadCall(func(key bool, pts time.Duration, ps [][]byte) {
		f := &media.Frame{Track: vt, Params: params, PTS: pts, DTS: pts, Key: key, Data: ps, Arrival: time.Now()}
		for i, p := range ps {
			f.Packets = append(f.Packets, &rtp.Packet{Header: rtp.Header{Marker: i == len(ps)-1}, Payload: p})
		}
		st.Write(f)
	}, func(pts time.Duration, p []byte) {
		st.Write(&media.Frame{Track: at, PTS: pts, DTS: pts, Key: true, Data: [][]byte{p}, Arrival: time.Now(), Packets: []*rtp.Packet{{Payload: p}}})
	})
	return nil
}

// yardstick is the plain loop: one TrackLocalStaticRTP per kind, no
// interceptors, one goroutine writes to all viewers. Sockets, ICE and SRTP
// profile are ours.
func yardstick(t *transport.Transport, c Config) http.Handler {
	at, _ := webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypePCMA, ClockRate: 8000}, "audio", "s")
	vt, _ := webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeH264, ClockRate: 90000}, "video", "s")
	var aseq, vseq uint16
	go loadCall(func(_ bool, pts time.Duration, ps [][]byte) {
		for i, p := range ps {
			vseq++
			_ = vt.WriteRTP(&rtp.Packet{Header: rtp.Header{Version: 2, Marker: i == len(ps)-1, SequenceNumber: vseq, Timestamp: timestamp(pts, 90000)}, Payload: p})
		}
	}, func(pts time.Duration, p []byte) {
		aseq++
		_ = at.WriteRTP(&rtp.Packet{Header: rtp.Header{Version: 2, SequenceNumber: aseq, Timestamp: timestamp(pts, 8000)}, Payload: p})
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		answer, err := yardstickAnswer(t, c, string(body), at, vt)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, answer)
	})
}

func yardstickAnswer(t *transport.Transport, c Config, offer string, tracks ...webrtc.TrackLocal) (string, error) {
	var me webrtc.MediaEngine
	if err := me.RegisterDefaultCodecs(); err != nil {
		return "", err
	}
	se, err := t.Settings(webrtc.DTLSRoleServer, c.DisconnectTimeout)
	if err != nil {
		return "", err
	}
	pc, err := webrtc.NewAPI(webrtc.WithSettingEngine(se), webrtc.WithMediaEngine(&me), webrtc.WithInterceptorRegistry(&interceptor.Registry{})).
		NewPeerConnection(webrtc.Configuration{Certificates: []webrtc.Certificate{t.Certificate()}})
	if err != nil {
		return "", err
	}
	for _, tr := range tracks {
		snd, err := pc.AddTrack(tr)
		if err != nil {
			return "", err
		}
		go func() {
			buf := make([]byte, 1500)
			for {
				if _, _, err := snd.Read(buf); err != nil {
					return
				}
			}
		}()
	}
	if err := pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: offer}); err != nil {
		return "", err
	}
	a, err := pc.CreateAnswer(nil)
	if err != nil {
		return "", err
	}
	done := webrtc.GatheringCompletePromise(pc)
	if err := pc.SetLocalDescription(a); err != nil {
		return "", err
	}
	<-done
	return pc.LocalDescription().SDP, nil
}

// cpuTime is what this process has used, in user and kernel mode.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// rss is this process's resident memory in bytes.
func rss() int64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	f := strings.Fields(string(b))
	if len(f) < 2 {
		return 0
	}
	pages, _ := strconv.ParseInt(f[1], 10, 64)
	return pages * int64(os.Getpagesize())
}
