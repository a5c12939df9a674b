package bridge

import (
	"time"

	"lineout/calls/pack"
	"lineout/codecs"
	"lineout/media"
)

// picture converts pictures. What comes after a loss is left out up to the next
// key frame, which is asked for.
type picture struct {
	f      *flow
	plan   *plan
	failed *plan

	from   media.Codec
	in     codecs.Codec
	depack codecs.Depacketizer
	conv   codecs.Conversion
	track  *media.Track
	params *media.Params
	hz     int

	clock   unwrapper
	resume  bool
	skew    time.Duration // the source's time less ours
	end     time.Duration
	arrived time.Time
	waiting bool // for a key frame
	gap     bool

	packer *pack.Picture
	stream stream
	at     time.Time
	emit   func(*media.Frame)
}

func newPicture(f *flow) *picture {
	p := &picture{f: f, stream: newStream(), resume: true, waiting: true}
	p.emit = func(fr *media.Frame) {
		if err := p.packer.Write(epoch.Add(fr.PTS), fr); err != nil {
			p.f.counters.failed(err)
		}
	}
	return p
}

func (p *picture) restart() { p.resume = true }

func (p *picture) close() {
	if p.conv != nil {
		_ = p.conv.Close()
		p.conv = nil
	}
}

func (p *picture) packet(it item, lost int) {
	if p.plan != it.plan && (p.plan == nil || p.plan.out != it.plan.out) {
		p.close()
		p.packer = nil
	}
	p.plan = it.plan
	r := &it.plan.routes[it.p.PayloadType&0x7f]
	if r.how != convert {
		p.f.direct(r, it.p, it.at)
		return
	}
	if !p.open(r) {
		p.f.counters.dropped.Add(1)
		return
	}
	if p.resume {
		p.resume, p.clock, p.gap = false, unwrapper{}, true
		begin := p.clock.at(it.p.Timestamp, p.hz)
		p.skew = begin - p.end
		if !p.arrived.IsZero() {
			p.skew -= it.at.Sub(p.arrived)
		}
	}
	p.arrived, p.at = it.at, it.at
	p.f.counters.converted.Add(1)
	if len(it.p.Payload) == 0 {
		return
	}
	for _, u := range p.depack.Push(it.p, lost > 0) {
		p.unit(&u)
	}
}

// open makes the conversion for a codec of the source.
func (p *picture) open(r *route) bool {
	if p.conv != nil && p.from == r.codec {
		return true
	}
	if p.failed == p.plan {
		return false
	}
	p.close()
	p.track = &media.Track{ID: "video", Kind: media.Video, Codec: r.codec, ClockRate: r.hz, RequestKeyframe: func() { p.f.wantKeyframe(urgent) }}
	conv, err := r.converter.New(p.track, codecs.Options{Log: p.f.b.log})
	if err != nil {
		p.fail(err)
		return false
	}
	p.conv, p.from, p.hz, p.in, p.resume, p.waiting, p.params = conv, r.codec, r.hz, p.f.b.table.Get(r.codec), true, true, nil
	p.depack = p.in.NewDepacketizer()
	if p.packer == nil {
		out := p.plan.out
		p.packer = pack.NewPicture(p.f.b.table.Get(out.Codec), out.Fmtp, func(at time.Time, marker bool, payload []byte) error {
			ts := p.stream.stamp(at.Sub(epoch), out.ClockRate)
			p.f.forward(out.PayloadType, p.stream.next(out.PayloadType, ts, marker, payload), p.at, nil)
			return nil
		})
	}
	return true
}

func (p *picture) fail(err error) {
	p.failed = p.plan
	p.f.counters.failed(err)
	p.f.b.log.Error("picture of joined calls cannot be converted", "way", p.f.name, "from", p.from, "to", p.plan.out.Codec, "err", err)
	p.close()
}

// unit converts one picture, unless no decoder could use it.
func (p *picture) unit(u *codecs.AccessUnit) {
	pts := p.clock.at(u.Timestamp, p.hz) - p.skew
	p.end = max(p.end, pts)
	if u.Damaged || len(u.Data) == 0 {
		p.lose()
		return
	}
	if params := p.in.Params(p.params, u.Data); params != nil {
		p.params = params
		p.track.SetParams(params)
	}
	key := p.in.Keyframe(u.Data)
	if p.waiting && (!key || p.params == nil) {
		p.lose()
		return
	}
	p.waiting = false
	f := &media.Frame{Track: p.track, Params: p.params, PTS: pts, DTS: pts, Arrival: p.at, Key: key, Gap: p.gap, Data: u.Data}
	p.gap = false
	if err := p.conv.Convert(f, p.emit); err != nil {
		p.fail(err)
	}
}

func (p *picture) lose() {
	p.waiting, p.gap = true, true
	p.f.wantKeyframe(urgent)
}

func (p *picture) report(it item) {
	if p.conv == nil || p.resume {
		return
	}
	at := p.clock.peek(it.ts, p.hz) - p.skew
	p.f.to.ForwardReport(media.Video, p.stream.packet.SSRC, it.ntp, p.stream.stamp(at, p.plan.out.ClockRate))
}
