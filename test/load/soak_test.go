//go:build e2e

package load

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"lineout/test/peers"
)

var (
	soak     = flag.Duration("soak", 20*time.Second, "how long BenchmarkSoak makes calls")
	soakRate = flag.Int("soak-rate", 3, "calls per second of BenchmarkSoak")
)

// BenchmarkSoak makes short calls for a long time and shows that none leaves
// anything in the server: goroutines, sockets, file descriptors and heap are back
// at what they were after a first round of the same calls. Every third call is
// ended before it can be answered, every third by a peer that sends no media.
//
//	go test -tags e2e -run '^$' -bench Soak -benchtime 1x -timeout 0 ./test/load -soak 1h
func BenchmarkSoak(b *testing.B) {
	for b.Loop() {
		soakOnce(b)
	}
}

func soakOnce(b *testing.B) {
	callee, err := newCallee(peers.Clips(b))
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- callee.run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
	}()
	silent := peers.StartAnswerer(b, "v=0\no=- 1 1 IN IP4 127.0.0.1\ns=-\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 9 RTP/AVP 8\n")
	srv := peers.StartLineout(b, map[string]string{"debug_endpoints": "true"})
	s := soaker{b: b, srv: srv, ports: []int{callee.port(), silent.Port, callee.port()}}
	s.calls(10 * time.Second)
	before := s.settled()
	cpu, begin := cpuTime(b, srv.PID()), time.Now()
	made := s.made
	for left := *soak; left > 0; left -= time.Minute {
		s.calls(min(left, time.Minute))
		b.Logf("%5d calls: %v", s.made-made, s.state())
	}
	used, lasted := cpuTime(b, srv.PID())-cpu, time.Since(begin)
	after := s.settled()
	b.Logf("before %v", before)
	b.Logf("after  %v", after)
	b.ReportMetric(float64(s.made-made), "calls")
	b.ReportMetric(used.Seconds()/lasted.Seconds()*100, "%CPU")
	b.ReportMetric(float64(after.heap-before.heap)/(1<<20), "MiB-heap-growth")
	b.ReportMetric(0, "ns/op")
	if after.goroutines > before.goroutines || after.sockets > before.sockets || after.files > before.files {
		b.Errorf("calls left something behind: before %v, after %v", before, after)
	}
	// What is kept by design is bounded: ended calls for some seconds, the doctor's
	// records up to their limit. The first round has filled only a part of that.
	if after.heap > before.heap+16<<20 {
		b.Errorf("the heap grew from %d to %d bytes", before.heap, after.heap)
	}
}

// soaker makes calls to one port after the other.
type soaker struct {
	b     *testing.B
	srv   *peers.Lineout
	ports []int
	made  int
}

// calls makes calls for a time and ends each after a second, or at once.
func (s *soaker) calls(span time.Duration) {
	s.b.Helper()
	type running struct {
		id  string
		end time.Time
	}
	var open []running
	tick := time.NewTicker(time.Second / time.Duration(*soakRate))
	defer tick.Stop()
	for until := time.Now().Add(span); time.Now().Before(until) || len(open) > 0; {
		now := <-tick.C
		for len(open) > 0 && now.After(open[0].end) {
			s.terminate(open[0].id)
			open = open[1:]
		}
		if now.After(until) {
			continue
		}
		s.made++
		id := fmt.Sprintf("soak-%d", s.made)
		s.srv.Must(s.b, "/rest-api/call/startup", map[string]any{
			"callId": id, "callee": "load", "toStream": strings.ReplaceAll(id, "-", "_"), "hasAudio": s.made%2 == 0, "hasVideo": false,
			"sipLogin": "10009", "sipPassword": "1234", "sipDomain": "127.0.0.1", "sipOutboundProxy": "127.0.0.1",
			"sipPort": s.ports[s.made%len(s.ports)], "sipRegisterRequired": false,
		}, nil)
		if s.made%3 == 0 {
			s.terminate(id)
		} else {
			open = append(open, running{id, now.Add(time.Second)})
		}
	}
}

// terminate ends a call, which must not have ended by itself.
func (s *soaker) terminate(id string) {
	s.b.Helper()
	s.srv.Must(s.b, "/rest-api/call/terminate", map[string]string{"callId": id}, nil)
}

// state is what a server holds.
type state struct {
	goroutines, sockets, files, heap int
	udp, tcp                         int // of the sockets
	rss                              int
}

func (s state) String() string {
	return fmt.Sprintf("%d goroutines, %d sockets (%d UDP, %d TCP) of %d open files, heap %.1f MiB, resident %.1f MiB",
		s.goroutines, s.sockets, s.udp, s.tcp, s.files, float64(s.heap)/(1<<20), float64(s.rss)/(1<<20))
}

func (s *soaker) state() state {
	s.b.Helper()
	out := state{rss: memory(s.b, s.srv.PID())}
	_, text := s.srv.Get(s.b, "/debug/pprof/goroutine?debug=1")
	_, after, _ := strings.Cut(text, "total ")
	out.goroutines, _ = strconv.Atoi(strings.Fields(after + " ?")[0])
	_, text = s.srv.Get(s.b, "/debug/pprof/heap?debug=1&gc=1")
	_, after, _ = strings.Cut(text, "# HeapAlloc = ")
	out.heap, _ = strconv.Atoi(strings.Fields(after + " ?")[0])
	folder := fmt.Sprintf("/proc/%d/fd", s.srv.PID())
	entries, err := os.ReadDir(folder)
	if err != nil || out.goroutines == 0 || out.heap == 0 {
		s.b.Fatalf("what the server holds cannot be read: %+v %v", out, err)
	}
	kinds := socketKinds(s.srv.PID())
	for _, e := range entries {
		out.files++
		to, err := os.Readlink(folder + "/" + e.Name())
		if inode, ok := strings.CutPrefix(to, "socket:"); err == nil && ok {
			out.sockets++
			switch kinds[strings.Trim(inode, "[]")] {
			case "udp", "udp6":
				out.udp++
			case "tcp", "tcp6":
				out.tcp++
			}
		}
	}
	return out
}

// socketKinds tells of the sockets in a process's network, by inode, what they are (proc(5), net/tcp).
func socketKinds(pid int) map[string]string {
	out := map[string]string{}
	for _, kind := range []string{"udp", "udp6", "tcp", "tcp6"} {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, kind)) // not there without IPv6
		for line := range strings.Lines(string(text)) {
			if f := strings.Fields(line); len(f) > 9 {
				out[f[9]] = kind
			}
		}
	}
	return out
}

// settled is the state when what calls hold for a while after their end is gone:
// SIP transactions last up to 37 s (RFC 3261 section 17, timers D, H and J). Of
// several readings the least counts, since each finds the connection of the one
// before it open or just closed.
func (s *soaker) settled() state {
	s.b.Helper()
	time.Sleep(45 * time.Second)
	least := s.state()
	for range 5 {
		time.Sleep(time.Second)
		now := s.state()
		least.goroutines, least.sockets, least.files = min(least.goroutines, now.goroutines), min(least.sockets, now.sockets), min(least.files, now.files)
		least.udp, least.tcp = min(least.udp, now.udp), min(least.tcp, now.tcp)
		least.heap, least.rss = min(least.heap, now.heap), min(least.rss, now.rss)
	}
	return least
}
