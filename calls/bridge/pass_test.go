package bridge

import (
	"slices"
	"strings"
	"testing"

	"github.com/pion/rtcp"

	"lineout/calls/leg"
	"lineout/codecs"
	"lineout/media"
)

func TestPlans(t *testing.T) {
	type ways = map[uint8]struct {
		how treatment
		pt  uint8
	}
	held := audio(pcma)
	held.Send = false
	for name, c := range map[string]struct {
		from, to leg.TrackInfo
		want     ways
		reason   string
		events   bool
	}{
		"the same codec":            {audio(pcma), audio(pcma), ways{8: {pass, 8}}, "passed on as it is (PCMA)", false},
		"other payload types":       {audio(op), audio(pcma, renumbered(op, 96)), ways{111: {pass, 96}}, "opus", false},
		"whatever has a pair":       {audio(pcmu, pcma), audio(op, pcma, pcmu), ways{0: {pass, 0}, 8: {pass, 8}}, "PCMU", false},
		"another codec":             {audio(wide), audio(op, pcma), ways{9: {convert, 111}}, "converted from G722 to opus because the other side does not take G722 (but opus, PCMA)", false},
		"one converted, one passed": {audio(wide, pcma), audio(pcma), ways{9: {convert, 8}, 8: {pass, 8}}, "converted from G722 to PCMA", false},
		"the other side is on hold": {audio(pcma), held, nil, "on hold", false},
		"events on the same clock": {with(audio(pcma), nil, renumbered(ev8, 96)), with(audio(pcma), nil, ev48, ev8),
			ways{8: {pass, 8}, 96: {event, 101}}, "PCMA", true},
		"events on the clock of what is made": {with(audio(pcma), nil, ev8), with(audio(op), nil, ev8, ev48), ways{8: {convert, 111}, 101: {event, 110}}, "opus", true},
		"events nobody takes":                 {with(audio(pcma), nil, ev8), audio(pcma), ways{8: {pass, 8}}, "PCMA", false},
		"comfort noise":                       {with(audio(pcma), []uint8{13}), with(audio(pcma), []uint8{19}), ways{8: {pass, 8}, 13: {noise, 19}}, "", false},
		"comfort noise nobody takes":          {with(audio(pcma), []uint8{13}), audio(pcma), ways{8: {pass, 8}}, "", false},
		"comfort noise beside opus":           {with(audio(pcma), []uint8{13}), with(audio(op), []uint8{13}), ways{8: {convert, 111}}, "", false},
		"H.264 finds its mode":                {pictures(avc1, avc0), pictures(renumbered(avc0, 100), renumbered(avc1, 101)), ways{112: {pass, 101}, 113: {pass, 100}}, "picture is passed on", false},
		"H.264 in another mode":               {pictures(avc1), pictures(avc0), ways{112: {pass, 113}}, "agreed to packetization mode 0", false},
		"pictures without a way":              {pictures(vp), pictures(avc1), nil, "picture in VP8 is not sent: the other side takes only H264", false},
	} {
		t.Run(name, func(t *testing.T) {
			p := makePlan(table, c.from.Kind, []leg.TrackInfo{c.from}, []leg.TrackInfo{c.to})
			for pt := range p.routes {
				got, want := p.routes[pt], c.want[uint8(pt)]
				if got.how != want.how || got.pt != want.pt {
					t.Errorf("payload type %d: %d as %d, want %d as %d", pt, got.how, got.pt, want.how, want.pt)
				}
			}
			if !strings.Contains(p.reason, c.reason) || p.events != c.events {
				t.Errorf("%q, events %v", p.reason, p.events)
			}
		})
	}
}

// What both legs know goes through at once, without Run, and keeps its numbers.
func TestPassThrough(t *testing.T) {
	b, x, y := join([]leg.TrackInfo{audio(op)}, []leg.TrackInfo{audio(renumbered(op, 96))})
	for _, seq := range []uint16{65534, 0, 65535, 5, 1} {
		b.FromA(media1(media.Audio, 111, 7, seq, uint32(seq)*960, 1, byte(seq)))
	}
	b.FromB(media1(media.Audio, 96, 9, 3, 960, 9))
	var seqs []uint16
	for _, s := range y.got() {
		seqs = append(seqs, s.p.SequenceNumber)
		if s.pt != 96 || s.p.PayloadType != 96 || s.p.SSRC != 7 || s.p.Timestamp != uint32(s.p.SequenceNumber)*960 || s.p.Payload[1] != byte(s.p.SequenceNumber) {
			t.Errorf("%+v", s)
		}
	}
	if !slices.Equal(seqs, []uint16{65534, 0, 65535, 5, 1}) {
		t.Error(seqs)
	}
	if back := x.got(); len(back) != 1 || back[0].pt != 111 {
		t.Errorf("%+v", back)
	}
	st := b.Stats()
	if f := st.AToB[0]; f.Passed != 5 || f.Dropped != 0 || f.Converted != 0 || f.DelayP99 == 0 {
		t.Errorf("%+v", f)
	}
}

// What the other side does not take leaves no hole in the numbers, also when
// packets come late.
func TestLeftOutIsNoLoss(t *testing.T) {
	b, _, y := join([]leg.TrackInfo{with(audio(pcma), []uint8{13}, ev8)}, []leg.TrackInfo{audio(pcma)})
	send := func(pt uint8, seq uint16) { b.FromA(media1(media.Audio, pt, 7, seq, uint32(seq)*160, 1, 2, 3, 4)) }
	send(8, 65533)
	send(13, 65534)
	send(101, 65535)
	send(101, 65535) // twice
	send(8, 1)
	send(8, 0) // overtaken
	send(101, 3)
	send(8, 4)
	send(8, 2)
	var seqs []uint16
	for _, s := range y.got() {
		seqs = append(seqs, s.p.SequenceNumber)
	}
	if want := []uint16{65533, 65535, 65534, 1, 0}; !slices.Equal(seqs, want) {
		t.Errorf("%v, want %v", seqs, want)
	}
	if f := b.Stats().AToB[0]; f.Dropped != 4 {
		t.Errorf("%+v", f)
	}
}

// A digit keeps its length on another clock (RFC 4733 section 2.3.5).
func TestEventsChangeTheirClock(t *testing.T) {
	b, _, y := join([]leg.TrackInfo{with(audio(op), nil, ev8)}, []leg.TrackInfo{with(audio(op), nil, ev48)})
	b.FromA(media1(media.Audio, 101, 7, 1, 960, 5, 10, 0x01, 0x40))   // 320 units: 40 ms
	b.FromA(media1(media.Audio, 101, 7, 2, 960, 5, 0x8a, 0x40, 0x00)) // 2 s are more than fit
	b.FromA(media1(media.Audio, 101, 7, 3, 960, 5))                   // no event at all
	got := y.got()
	if len(got) != 3 || got[0].pt != 110 || !slices.Equal(got[0].p.Payload, []byte{5, 10, 0x07, 0x80}) || !slices.Equal(got[1].p.Payload, []byte{5, 0x8a, 0xff, 0xff}) {
		t.Fatalf("%+v", got)
	}
	if ab, ba := b.PassesEvents(); !ab || !ba {
		t.Error(ab, ba)
	}
}

func TestReportsArePassedOn(t *testing.T) {
	b, x, y := join([]leg.TrackInfo{audio(pcma)}, []leg.TrackInfo{audio(pcma)})
	b.FromA(control(media.Audio, &rtcp.SenderReport{SSRC: 7, NTPTime: 1 << 40, RTPTime: 5}, &rtcp.ReceiverEstimatedMaximumBitrate{Bitrate: 1}))
	if len(y.reports) != 1 || y.reports[0] != (report{media.Audio, 7, 1 << 40, 5}) || len(x.reports) != 0 {
		t.Errorf("%+v %+v", y.reports, x.reports)
	}
}

func TestErrorsAreCounted(t *testing.T) {
	b, _, y := join([]leg.TrackInfo{audio(pcma)}, []leg.TrackInfo{audio(pcma)})
	y.err = leg.ErrEnded
	b.FromA(media1(media.Audio, 8, 7, 1, 0, 1))
	if f := b.Stats().AToB[0]; f.Dropped != 1 || f.Error != "" {
		t.Errorf("%+v", f)
	}
	y.err = &codecs.NoPathError{Have: "x"}
	b.FromA(media1(media.Audio, 8, 7, 2, 0, 1))
	if f := b.Stats().AToB[0]; f.Dropped != 2 || f.Error == "" || f.Passed != 0 {
		t.Errorf("%+v", f)
	}
}

// A hold of one kind does not touch the other, and nothing is lost by planning
// anew what stays as it is.
func TestMediaChanges(t *testing.T) {
	b, _, y := join([]leg.TrackInfo{audio(pcma), pictures(vp)}, []leg.TrackInfo{audio(pcma), pictures(vp)})
	before := b.aToB.audio.plan.Load()
	b.MediaChanged()
	held := pictures(vp)
	held.Send = false
	y.set(audio(pcma), held)
	b.MediaChanged()
	if b.aToB.audio.plan.Load() != before {
		t.Error("sound was planned anew although it stayed as it was")
	}
	b.FromA(media1(media.Audio, 8, 7, 1, 0, 1))
	b.FromA(media1(media.Video, 114, 8, 1, 0, 1))
	if got := y.got(); len(got) != 1 || got[0].kind != media.Audio {
		t.Errorf("%+v", got)
	}
	y.set(audio(pcma)) // the picture has gone altogether
	b.MediaChanged()
	b.FromA(media1(media.Video, 114, 8, 2, 0, 1))
	if got := y.got(); len(got) != 1 {
		t.Errorf("%+v", got)
	}
	if r := b.Stats().AToB[1].Reason; !strings.Contains(r, "takes none") {
		t.Error(r)
	}
}

func TestPassThroughDoesNotAllocate(t *testing.T) {
	b := New(&party{tracks: []leg.TrackInfo{audio(pcma), pictures(vp)}}, &quiet{party{tracks: []leg.TrackInfo{audio(pcma), pictures(vp)}}}, table, Options{})
	for _, p := range []leg.Packet{media1(media.Audio, 8, 7, 1, 0, make([]byte, 160)...), media1(media.Video, 114, 8, 1, 0, make([]byte, 1100)...)} {
		if n := testing.AllocsPerRun(1000, func() {
			p.RTP.SequenceNumber++
			b.FromA(p)
		}); n != 0 {
			t.Errorf("%v: %v allocations for a packet", p.Kind, n)
		}
	}
}

func BenchmarkPassThrough(b *testing.B) {
	br := New(&party{tracks: []leg.TrackInfo{audio(pcma)}}, &quiet{party{tracks: []leg.TrackInfo{audio(pcma)}}}, table, Options{})
	p := media1(media.Audio, 8, 7, 1, 0, make([]byte, 160)...)
	b.ReportAllocs()
	for b.Loop() {
		p.RTP.SequenceNumber++
		br.FromA(p)
	}
}
