package bridge

import (
	"encoding/binary"
	"errors"
	"sync/atomic"
	"time"

	"github.com/pion/rtp"

	"lineout/calls/leg"
	"lineout/media"
)

// flow is one kind in one direction. packet and report run on the goroutine that
// receives the kind; what is converted goes to a worker. Only one of the two
// sends at a time: while the worker has something to do, all goes through it.
type flow struct {
	b        *Bridge
	kind     media.Kind
	from, to leg.Forwarder
	name     string
	plan     atomic.Pointer[plan]
	worker   atomic.Pointer[worker]
	key      keyAsker // of pictures
	counters counters

	// Of the goroutine that receives the kind, or of the worker, see above.
	closing shim
	scratch rtp.Packet
	digit   [4]byte

	// Of the goroutine that receives the kind.
	ssrc   uint32
	last   time.Time // when the newest packet came
	opened *plan     // the newest plan that was seen
	turned bool      // the newest sound or picture was to be converted
}

func newFlow(b *Bridge, k media.Kind, from, to leg.Forwarder, name string) *flow {
	return &flow{b: b, kind: k, from: from, to: to, name: name}
}

// use takes a new plan, unless it is the one in use.
func (f *flow) use(p *plan) {
	old := f.plan.Load()
	if old != nil && *old == *p {
		return
	}
	f.plan.Store(p)
	if (old == nil || old.reason != p.reason) && (old != nil || !p.idle) { // not of what never was
		f.b.log.Info("media of joined calls", "way", f.name, "kind", f.kind, "plan", p.reason)
	}
}

// packet sends one on, or gives it to the worker.
func (f *flow) packet(p *rtp.Packet, at time.Time) {
	pl := f.plan.Load()
	if f.kind == media.Video {
		f.watch(pl, p, at)
	}
	f.ssrc, f.last, f.opened = p.SSRC, at, pl
	r := &pl.routes[p.PayloadType&0x7f]
	if !pl.open {
		f.counters.dropped.Add(1)
		return
	}
	w := f.worker.Load()
	if r.how == convert || r.how == pass {
		f.turned = r.how == convert
	}
	if r.how == convert && w == nil {
		w = f.hire()
	}
	if w != nil && (f.turned || w.pending.Load() > 0) { // what travels beside the sound is part of its row
		w.push(item{p: p, at: at, plan: pl, turned: f.turned})
		return
	}
	f.direct(r, p, at)
}

// hire starts the worker.
func (f *flow) hire() *worker {
	w := newWorker(f)
	f.worker.Store(w)
	f.b.begin(w.run)
	return w
}

// direct sends what needs no conversion.
func (f *flow) direct(r *route, p *rtp.Packet, at time.Time) {
	if r.how == drop || r.how == convert || len(p.Payload) == 0 {
		f.closing.drop(p.SSRC, p.SequenceNumber)
		f.counters.dropped.Add(1)
		return
	}
	out := &f.scratch
	out.Header = rtp.Header{Version: 2, SSRC: p.SSRC, SequenceNumber: f.closing.place(p.SSRC, p.SequenceNumber), Timestamp: p.Timestamp, Marker: p.Marker, PayloadType: r.pt}
	out.Payload = p.Payload
	if r.how == event && r.hz != r.outHz {
		out.Payload = reclock(&f.digit, p.Payload, r.hz, r.outHz)
	}
	f.forward(r.pt, out, at, &f.counters.passed)
}

// forward hands a packet to the other leg and counts it. at is when the packet
// came that it was made of.
func (f *flow) forward(pt uint8, p *rtp.Packet, at time.Time, count *atomic.Uint64) {
	if err := f.to.ForwardRTP(f.kind, pt, p, at); err != nil {
		f.counters.dropped.Add(1)
		if !errors.Is(err, leg.ErrEnded) {
			f.counters.failed(err)
		}
		return
	}
	if count != nil {
		count.Add(1)
	}
	f.counters.delay.add(time.Since(at))
}

// report passes on what a sender report of the source says.
func (f *flow) report(ssrc uint32, ntp uint64, ts uint32, at time.Time) {
	if w := f.worker.Load(); w != nil && f.turned {
		w.push(item{ntp: ntp, ts: ts, ssrc: ssrc, at: at})
		return
	}
	f.to.ForwardReport(f.kind, ssrc, ntp, ts)
}

// reclock is a telephone-event on another clock (RFC 4733 section 2.3.5).
// Without the four bytes of one it is returned as it is.
func reclock(buf *[4]byte, event []byte, from, to int) []byte {
	if len(event) < 4 || from <= 0 {
		return event
	}
	n := int(binary.BigEndian.Uint16(event[2:])) * to / from
	copy(buf[:], event[:2])
	binary.BigEndian.PutUint16(buf[2:], uint16(min(n, 0xffff)))
	return buf[:]
}
