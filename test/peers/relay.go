package peers

import (
	"fmt"
	"math/rand"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
)

// Network says what a [Relay] does to the packets of each track. Chances are 0 to 1.
type Network struct {
	Seed      int64
	Loss      float64 // of RTP
	Duplicate float64
	Jitter    time.Duration // each packet is under way for 0 to so long, evenly spread, and may overtake others
	Burst     time.Duration // so long nothing passes, then all of it at once
	// The encoder's sender reports pass with the times of one clock: ffmpeg has
	// one muxer for each track, and their reports differ by the time between their starts.
	NoReports bool
	Report    func(video bool, sr *rtcp.SenderReport)
	NewSource time.Duration // from then on another SSRC, sequence number and timestamp base; 0: never
}

// Relay is a UDP relay between an [Encoder] and a server that spoils the
// network: the encoder sends to it, it sends from the ports its description names.
// Like a [Tap] it sends on when the timestamps say so, so that what a busy machine
// does to the encoder is not taken for the network's doing.
type Relay struct {
	n     Network
	ports int // RTP and RTCP in from the encoder and out to the server, audio then video
	pace  pacer
	conns []*net.UDPConn
	wg    sync.WaitGroup

	mu      sync.Mutex
	begun   time.Time // when the first packet was due
	first   [2]uint32 // timestamps of the first packets
	heard   [2]bool
	passed  [2]bool // a packet was sent on
	dropped [2]int  // since then
	healed  bool
}

// NewRelay reserves the relay's ports.
func NewRelay(t testing.TB, n Network) *Relay {
	t.Helper()
	r := &Relay{n: n, ports: Ports(t, 8)}
	for i := range 8 {
		c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: r.ports + i})
		if err != nil {
			t.Fatalf("relay: %v", err)
		}
		_ = c.SetReadBuffer(1 << 20)
		r.conns = append(r.conns, c)
	}
	t.Cleanup(func() {
		for _, c := range r.conns {
			c.Close()
		}
		r.wg.Wait()
	})
	return r
}

// SDP is the encoder's description with the relay's ports.
func (r *Relay) SDP(e *Encoder, offersVideo bool) string {
	return strings.NewReplacer(fmt.Sprintf("m=audio %d ", e.AudioPort), fmt.Sprintf("m=audio %d ", r.ports+4),
		fmt.Sprintf("m=video %d ", e.VideoPort), fmt.Sprintf("m=video %d ", r.ports+6)).Replace(e.SDP(offersVideo))
}

// Start starts the encoder, whose sound is at 8000 Hz, and relays what it sends to these ports of 127.0.0.1.
func (r *Relay) Start(t testing.TB, e *Encoder, audioTo, videoTo int) {
	t.Helper()
	sound, picture := r.pace.track(8000), r.pace.track(90000)
	for i, to := range []int{audioTo, audioTo + 1, videoTo, videoTo + 1} {
		r.wg.Add(1)
		go func() {
			defer r.wg.Done()
			r.run(i, []*pacedTrack{sound, picture}[i/2], &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: to})
		}()
	}
	e.Start(t, r.ports, r.ports+2)
}

func (r *Relay) run(i int, tr *pacedTrack, to *net.UDPAddr) {
	rnd := rand.New(rand.NewSource(r.n.Seed*8 + int64(i)))
	in, out, report := r.conns[i], r.conns[4+i], i%2 == 1
	r.pace.pass(in, tr, report, func(packet []byte) {
		since := time.Since(r.begin())
		b, ok := r.rewrite(append([]byte(nil), packet...), i > 1, report)
		if !ok || !report && r.drop(i/2, rnd.Float64() < r.n.Loss) {
			return
		}
		copies := 1
		if !report && rnd.Float64() < r.n.Duplicate {
			copies = 2
		}
		for range copies {
			wait := max(r.n.Burst-since, 0)
			if r.n.Jitter > 0 {
				wait += time.Duration(rnd.Int63n(int64(r.n.Jitter)))
			}
			if wait == 0 {
				_, _ = out.WriteToUDP(b, to)
				continue
			}
			r.wg.Add(1)
			time.AfterFunc(wait, func() {
				defer r.wg.Done()
				_, _ = out.WriteToUDP(b, to)
			})
		}
	})
}

// begin is when the first packet was due.
func (r *Relay) begin() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.begun.IsZero() {
		r.begun = time.Now()
	}
	return r.begun
}

// drop decides whether the packet of a track that was to be lost is, and counts it.
func (r *Relay) drop(track int, lost bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	lost = lost && !r.healed
	switch {
	case !lost:
		r.passed[track] = true
	case r.passed[track]:
		r.dropped[track]++
	}
	return lost
}

// Heal ends the loss, and returns how many packets of each track were lost. Those
// before the first that passed are not counted: nobody can know of them.
func (r *Relay) Heal() (audio, video int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.healed = true
	return r.dropped[0], r.dropped[1]
}

// Differences of the new source to the old.
const (
	newSSRC = 0x5a5a5a5a
	newSeq  = 20000
	newTS   = 0x7fff1234
)

func (r *Relay) rewrite(b []byte, video, report bool) (_ []byte, ok bool) {
	fresh := r.n.NewSource > 0 && time.Since(r.begun) > r.n.NewSource
	k, rate := 0, 8000.0
	if video {
		k, rate = 1, 90000
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !report {
		var p rtp.Packet
		if p.Unmarshal(b) != nil {
			return nil, false
		}
		if !r.heard[k] {
			r.heard[k], r.first[k] = true, p.Timestamp
		}
		if !fresh {
			return b, true
		}
		p.SSRC ^= newSSRC
		p.SequenceNumber += newSeq
		p.Timestamp += newTS
		b, err := p.Marshal()
		return b, err == nil
	}
	pkts, err := rtcp.Unmarshal(b)
	if err != nil {
		return nil, false
	}
	for _, p := range pkts {
		sr, is := p.(*rtcp.SenderReport)
		switch {
		case !is:
			continue
		case r.n.NoReports || !r.heard[k]:
			return nil, false
		}
		since := float64(int32(sr.RTPTime-r.first[k])) / rate
		at := float64(r.begun.UnixMicro())/1e6 + since + 2208988800 // RFC 3550 section 4
		sr.NTPTime = uint64(at*(1<<16)) << 16
		if r.n.Report != nil {
			r.n.Report(video, sr)
		}
		if fresh {
			sr.SSRC ^= newSSRC
			sr.RTPTime += newTS
		}
	}
	b, err = rtcp.Marshal(pkts)
	return b, err == nil
}
