package peers

import (
	"net"
	"sync"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
)

// paceDelay is how long a [Tap] keeps packets: an encoder that a busy machine
// holds up for less is not noticed behind it.
const paceDelay = time.Second

// pacer keeps what an encoder sends for [paceDelay] and passes it on when the
// timestamps say so. What the machine does to the encoder is then no part of
// what is sent; the packets themselves, their order and their reports are.
type pacer struct {
	mu     sync.Mutex
	begun  time.Time // arrival of the first packet, of any track
	tracks []*pacedTrack
	held   int // packets that wait
}

// pacedTrack is a track's place on the pacer's clock.
type pacedTrack struct {
	clock float64 // Hz
	heard bool
	first uint32        // timestamp
	media time.Duration // of the newest packet, from the first
	last  uint32        // its timestamp
	least time.Time     // when the first packet came or would have, were it not late: the least of arrival - media
	ntp   uint64        // of a report, 0: none yet
	rtp   uint32        // its timestamp
	fixed bool
	base  time.Time // when the first packet is sent
}

// pacedPacket waits to be sent.
type pacedPacket struct {
	b     []byte
	at    time.Time     // arrival
	media time.Duration // of RTP
}

// track adds a track; before anything is heard.
func (p *pacer) track(clock float64) *pacedTrack {
	t := &pacedTrack{clock: clock}
	p.tracks = append(p.tracks, t)
	return t
}

// take notes a packet of RTP that has come.
func (p *pacer) take(t *pacedTrack, b []byte) pacedPacket {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := pacedPacket{b: append([]byte(nil), b...), at: time.Now()}
	p.held++
	if p.begun.IsZero() {
		p.begun = out.at
	}
	var h rtp.Header
	if _, err := h.Unmarshal(b); err != nil {
		return out
	}
	if !t.heard {
		t.heard, t.first, t.last = true, h.Timestamp, h.Timestamp
	}
	t.media += t.ticks(h.Timestamp, t.last)
	t.last, out.media = h.Timestamp, t.media
	if from := out.at.Add(-t.media); t.least.IsZero() || from.Before(t.least) {
		t.least = from
	}
	return out
}

// report notes a packet of RTCP that has come.
func (p *pacer) report(t *pacedTrack, b []byte) pacedPacket {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held++
	if pkts, err := rtcp.Unmarshal(b); err == nil {
		for _, k := range pkts {
			if sr, ok := k.(*rtcp.SenderReport); ok && t.ntp == 0 {
				t.ntp, t.rtp = sr.NTPTime, sr.RTPTime
			}
		}
	}
	return pacedPacket{b: append([]byte(nil), b...), at: time.Now()}
}

// ticks is the time between two timestamps.
func (t *pacedTrack) ticks(to, from uint32) time.Duration {
	return time.Duration(float64(int32(to-from)) / t.clock * float64(time.Second))
}

// due is when a packet of RTP is sent; fixed says that this does not change any more.
func (p *pacer) due(t *pacedTrack, k pacedPacket) (at time.Time, fixed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !t.fixed {
		if ready := p.begun.Add(paceDelay); time.Now().Before(ready) {
			return ready, false
		}
		p.fix(t)
	}
	return t.base.Add(k.media), true
}

// fix places a track: by the reports of both, so that what belongs together is
// sent together; without reports by the packet that came soonest.
func (p *pacer) fix(t *pacedTrack) {
	t.fixed, t.base = true, t.least.Add(paceDelay)
	for _, o := range p.tracks {
		if o != t && o.fixed && o.ntp != 0 && t.ntp != 0 {
			t.base = o.base.Add(ntpSpan(t.ntp, o.ntp) + t.ticks(t.first, t.rtp) - o.ticks(o.first, o.rtp))
		}
	}
}

// ntpSpan is the time from one NTP timestamp to another (RFC 3550 section 4).
func ntpSpan(to, from uint64) time.Duration {
	return time.Duration(float64(int64(to-from)) / (1 << 32) * float64(time.Second))
}

// waiting is how many packets are held.
func (p *pacer) waiting() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.held
}

func (p *pacer) sent() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held--
}

// pass reads from rx until it is closed and gives each packet to send when it is due.
func (p *pacer) pass(rx net.Conn, t *pacedTrack, isRTCP bool, send func([]byte)) {
	queue := make(chan pacedPacket, 16384) // far more than an encoder sends in [paceDelay]
	done := make(chan struct{})
	stop := make(chan struct{})
	go func() {
		defer close(done)
		for k := range queue {
			for fixed := false; !fixed; {
				at := k.at.Add(paceDelay)
				if fixed = isRTCP; !fixed {
					at, fixed = p.due(t, k)
				}
				wait := time.NewTimer(time.Until(at))
				select {
				case <-wait.C:
				case <-stop:
					wait.Stop()
					return
				}
			}
			send(k.b)
			p.sent()
		}
	}()
	buf := make([]byte, 4096)
	for {
		n, err := rx.Read(buf)
		if err != nil {
			close(stop)
			close(queue)
			<-done
			return
		}
		note := p.take
		if isRTCP {
			note = p.report
		}
		queue <- note(t, buf[:n])
	}
}
