package peers

import (
	"fmt"
	"math"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
)

// Tap is a relay between an [Encoder] (Relayed) and who receives it. It notes what
// was sent and changes nothing, but for payloads that no encoder sends by itself,
// and that packets leave it when their timestamps say so: what a busy machine
// does to the encoder is no part of what is sent.
type Tap struct {
	AudioPort, VideoPort int // send here; RTCP one above
	audio, video         sent
	pace                 pacer
}

// Sent is what passed a [Tap] of one track.
type Sent struct {
	Packets, Missing int     // by sequence number
	Frames           int     // distinct timestamps
	Seconds          float64 // from the first timestamp to the last
	Reports          int     // sender reports
	Start            float64 // the sender's own time of the first timestamp in seconds, by its newest report; NaN without
}

// sent is a [Sent] that grows.
type sent struct {
	mu      sync.Mutex
	clock   float64
	first   rtp.Header
	last    rtp.Header
	report  *rtcp.SenderReport
	packets int
	frames  int
	missing int
	reports int
	elapsed int64 // ticks
}

// StartTap relays from e's announced ports to ports of 127.0.0.1 until the test ends.
func StartTap(t testing.TB, e *Encoder, audioTo, videoTo int) *Tap {
	t.Helper()
	p := Ports(t, 4)
	tap := &Tap{AudioPort: p, VideoPort: p + 2}
	for _, r := range []struct {
		tr       *EncoderTrack
		s        *sent
		in, from int
		to       int
	}{{e.cfg.Audio, &tap.audio, p, e.AudioPort, audioTo}, {e.cfg.Video, &tap.video, p + 2, e.VideoPort, videoTo}} {
		if r.tr != nil {
			r.s.clock = r.tr.clock()
			tr := tap.pace.track(r.s.clock)
			tap.relay(t, tr, r.in, r.from, r.to, r.s.rtp, recoder(t, r.tr))
			tap.relay(t, tr, r.in+1, r.from+1, r.to+1, r.s.rtcp, nil)
		}
	}
	return tap
}

// Wait waits until the encoder has sent all and it was passed on: it has ended, or
// has been silent for two seconds. (gst-launch sometimes sends everything and then
// misses that its RTCP has ended too.)
func (p *Tap) Wait(t testing.TB, e *Encoder) {
	t.Helper()
	last, since := 0, time.Now()
	Eventually(t, "the end of what the encoder sends", startTimeout, func() bool {
		if n := p.Audio().Packets + p.Video().Packets; n == 0 || n != last {
			last, since = n, time.Now()
		}
		if p.pace.waiting() > 0 {
			return false
		}
		select {
		case <-e.Done():
			if e.ExitCode() != 0 {
				t.Fatalf("the encoder failed: exit code %d", e.ExitCode())
			}
			return true
		default:
			return time.Since(since) > 2*time.Second
		}
	})
	e.Stop()
}

// relay passes on what comes to a port when it is due, as change makes it, after
// note has seen it; change is nil for RTCP.
func (p *Tap) relay(t testing.TB, tr *pacedTrack, in, from, to int, note func([]byte), change func([]byte) []byte) {
	t.Helper()
	local := func(port int) *net.UDPAddr { return &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port} }
	rx, err := net.ListenUDP("udp", local(in))
	if err != nil {
		t.Fatal(err)
	}
	_ = rx.SetReadBuffer(1 << 20)
	tx, err := net.DialUDP("udp", local(from), local(to))
	if err != nil {
		rx.Close()
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.pace.pass(rx, tr, change == nil, func(b []byte) {
			note(b)
			if change != nil {
				b = change(b)
			}
			tx.Write(b) // who has gone does not matter here
		})
	}()
	t.Cleanup(func() { rx.Close(); <-done; tx.Close() })
}

func (s *sent) rtp(b []byte) {
	var h rtp.Header
	if _, err := h.Unmarshal(b); err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.packets == 0 {
		s.first, s.frames = h, 1
	} else {
		s.missing += int(int16(h.SequenceNumber - s.last.SequenceNumber - 1))
		if h.Timestamp != s.last.Timestamp {
			s.frames++
			s.elapsed += int64(int32(h.Timestamp - s.last.Timestamp))
		}
	}
	s.packets++
	s.last = h
}

func (s *sent) rtcp(b []byte) {
	pkts, err := rtcp.Unmarshal(b)
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range pkts {
		if r, ok := p.(*rtcp.SenderReport); ok {
			s.report = r
			s.reports++
		}
	}
}

// Audio and Video are what was sent so far.
func (p *Tap) Audio() Sent { return p.audio.sum() }
func (p *Tap) Video() Sent { return p.video.sum() }

func (s *sent) sum() Sent {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := Sent{Packets: s.packets, Missing: s.missing, Frames: s.frames, Reports: s.reports, Start: math.NaN()}
	if s.packets == 0 {
		return out
	}
	out.Seconds = float64(s.elapsed) / s.clock
	if s.report != nil {
		ntp := float64(s.report.NTPTime>>32) + float64(uint32(s.report.NTPTime))/(1<<32)
		out.Start = ntp + float64(int32(s.first.Timestamp-s.report.RTPTime))/s.clock
	}
	return out
}

// clock is the clock rate of the rtpmap.
func (tr *EncoderTrack) clock() (hz float64) {
	_, rate, _ := strings.Cut(tr.Rtpmap, "/")
	fmt.Sscanf(rate, "%f", &hz)
	return hz
}
