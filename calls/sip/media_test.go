package sip

import (
	"encoding/binary"
	"math"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"pgregory.net/rapid"

	"lineout/calls/leg"
	"lineout/calls/receive"
	"lineout/calls/trace"
	"lineout/media"
)

var (
	t0    = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	named = netip.MustParseAddrPort("192.0.2.1:4000")
	nat   = netip.MustParseAddrPort("198.51.100.9:6000")
	thief = netip.MustParseAddrPort("203.0.113.5:7000")
)

func TestLatchRules(t *testing.T) {
	const window = 10 * time.Second
	arm := func() *latch {
		var l latch
		l.arm(named, t0, window)
		return &l
	}
	t.Run("the announced address wins at once and for good", func(t *testing.T) {
		l := arm()
		for i := range uint16(latchPackets - 1) {
			if l.admit(nat, 1, i, t0) {
				t.Fatal("taken too early")
			}
		}
		if !l.admit(named, 2, 9, t0) || l.admit(nat, 1, latchPackets-1, t0) || l.moved() {
			t.Errorf("%+v", l)
		}
	})
	t.Run("another address after some packets in order", func(t *testing.T) {
		l := arm()
		for i := range uint16(latchPackets) {
			if got := l.admit(nat, 1, 65533+i, t0); got != (i == latchPackets-1) {
				t.Fatalf("packet %d: %v", i, got)
			}
		}
		if l.remote() != nat || !l.moved() || l.admit(named, 1, 1, t0) || l.admit(thief, 1, 1, t0) {
			t.Errorf("%+v", l)
		}
	})
	t.Run("a changing SSRC, gaps or a second stranger start again", func(t *testing.T) {
		l := arm()
		for i := range uint16(100) {
			if l.admit(nat, uint32(i), i, t0) || l.admit(nat, 7, 2*i, t0) || l.admit(thief, 7, i, t0) {
				t.Fatal("taken")
			}
		}
	})
	t.Run("not after the window, but the announced address still is", func(t *testing.T) {
		l := arm()
		for i := range uint16(20) {
			if l.admit(nat, 1, i, t0.Add(window+time.Second)) {
				t.Fatal("taken")
			}
		}
		if !l.admit(named, 1, 1, t0.Add(time.Hour)) {
			t.Error("refused")
		}
	})
	t.Run("a new address arms it again", func(t *testing.T) {
		l := arm()
		l.admit(named, 1, 1, t0)
		l.arm(nat, t0.Add(time.Hour), window)
		if l.remote() != nat || l.admit(named, 1, 2, t0.Add(time.Hour)) || !l.admit(nat, 1, 2, t0.Add(time.Hour)) {
			t.Errorf("%+v", l)
		}
	})
}

// sent runs a transmitter from t0 for a time, polling when it asks to be.
func sent(x *transmitter, from, to time.Time) (out []rtp.Header, payloads [][]byte, at []time.Time) {
	var buf [4]byte
	now := from
	for n := 0; n < 100000; n++ {
		for {
			h, p, ok := x.next(now, buf[:])
			if !ok {
				break
			}
			out, payloads, at = append(out, h), append(payloads, slices.Clone(p)), append(at, now)
		}
		due := x.due()
		if due.IsZero() || due.After(to) {
			return out, payloads, at
		}
		now = due
	}
	panic("the transmitter never rests")
}

func audio(silence int) *transmitter {
	x := &transmitter{ssrc: 1, seq: 65530, base: math.MaxUint32 - 1000}
	x.configure(8, 8000, make([]byte, silence), true, t0)
	x.eventPT, x.eventHz, x.eventOK = 101, 8000, true
	return x
}

func TestComfortSilence(t *testing.T) {
	x := audio(160)
	hs, _, at := sent(x, t0, t0.Add(time.Second))
	if len(hs) != 51 {
		t.Fatalf("%d packets in a second", len(hs))
	}
	for i, h := range hs {
		if h.Marker != (i == 0) || h.SequenceNumber != uint16(65530+i) || h.Timestamp != hs[0].Timestamp+uint32(160*i) || !at[i].Equal(t0.Add(time.Duration(i)*packetTime)) {
			t.Fatalf("packet %d at %v: %+v", i, at[i].Sub(t0), h)
		}
	}
	// after a sleep of the machine: no burst, timestamps follow the clock
	late := t0.Add(time.Minute)
	hs, _, _ = sent(x, late, late)
	if len(hs) != 1 || !hs[0].Marker || hs[0].Timestamp != x.base+60*8000 {
		t.Errorf("after a minute: %+v", hs)
	}
	x.configure(8, 8000, nil, false, late)
	if !x.due().IsZero() {
		t.Error("due although nothing may be sent")
	}
}

// TestTelephoneEvent: RFC 4733 section 2.5.
func TestTelephoneEvent(t *testing.T) {
	x := audio(160)
	sent(x, t0, t0.Add(100*time.Millisecond))
	start := t0.Add(110 * time.Millisecond)
	if !x.dial([]byte{5, 11}, start) {
		t.Fatal("refused")
	}
	hs, ps, at := sent(x, start, start.Add(time.Second))
	var events [][]int
	for i, h := range hs {
		if h.PayloadType != 101 {
			continue
		}
		p := ps[i]
		d := int(binary.BigEndian.Uint16(p[2:]))
		first := len(events) == 0 || int(h.Timestamp) != events[len(events)-1][0]
		if first {
			events = append(events, []int{int(h.Timestamp), int(p[0]), 0, 0})
		}
		e := events[len(events)-1]
		if h.Marker != first {
			t.Errorf("marker %v on packet %d", h.Marker, i)
		}
		if end := p[1]&0x80 != 0; end {
			e[3]++
			if d != 1280 {
				t.Errorf("end after %d units", d)
			}
		} else if d != e[2]+160 {
			t.Errorf("duration %d after %d", d, e[2])
		}
		e[2] = d
		if i > 0 && hs[i-1].PayloadType == 101 && !first && at[i].Sub(at[i-1]) != packetTime {
			t.Errorf("packet %d came %v after the last", i, at[i].Sub(at[i-1]))
		}
	}
	if len(events) != 2 || events[0][1] != 5 || events[1][1] != 11 || events[0][3] != endPackets || events[1][3] != endPackets {
		t.Fatalf("events %v", events)
	}
	for i := 1; i < len(hs); i++ {
		if hs[i].SequenceNumber != hs[i-1].SequenceNumber+1 || int32(hs[i].Timestamp-hs[i-1].Timestamp) < 0 {
			t.Errorf("packet %d: %+v after %+v", i, hs[i], hs[i-1])
		}
	}
	if x.dial(make([]byte, maxDigits+1), start) {
		t.Error("the queue has no bound")
	}
}

// TestBridged: a bridge takes over from comfort silence and gives it back.
// Timestamps say when the sound was, to the sample, and never go back.
func TestBridged(t *testing.T) {
	x := audio(160)
	before, _, _ := sent(x, t0, t0.Add(100*time.Millisecond))
	last := before[len(before)-1]
	now := t0.Add(115 * time.Millisecond)
	lead := 40 * time.Millisecond
	p := leg.Outgoing{PayloadType: 9, Length: 20 * time.Millisecond, Payload: make([]byte, 160)}
	var out []rtp.Header
	for i := range 5 {
		p.At = now.Add(lead + time.Duration(i)*p.Length - time.Duration(i%2)) // rounding is no hole
		h, ok := x.bridged(&p, now.Add(time.Duration(i)*p.Length))
		if !ok {
			t.Fatal("refused")
		}
		out = append(out, h)
		if _, _, ok := x.next(now, make([]byte, 4)); ok {
			t.Fatal("comfort silence goes on under a bridge")
		}
	}
	for i, h := range out {
		if h.SequenceNumber != last.SequenceNumber+1+uint16(i) || h.Timestamp != x.at(now.Add(lead))+uint32(160*i) || h.SSRC != 1 || h.Marker != (i == 0) || h.PayloadType != 9 {
			t.Errorf("packet %d: %+v after %+v", i, h, last)
		}
	}
	// A hole is one in the timestamps, too.
	p.At = now.Add(lead + 200*time.Millisecond)
	now = now.Add(200 * time.Millisecond)
	h, _ := x.bridged(&p, now)
	if h.Timestamp != out[4].Timestamp+960 || h.Marker {
		t.Errorf("after a hole: %+v", h)
	}
	after, _, at := sent(x, now, now.Add(bridgePause+50*time.Millisecond))
	if len(after) == 0 || at[0].Sub(now) != bridgePause || after[0].SequenceNumber != h.SequenceNumber+1 || !after[0].Marker || after[0].Timestamp != x.at(at[0]) {
		t.Errorf("comfort silence after the bridge: %v %+v", at, after)
	}
	if x.base != math.MaxUint32-1000 || !x.epoch.Equal(t0) {
		t.Error("timestamps stand for other times than before: sender reports would put sound and picture apart")
	}
}

// TestBridgedLate: sound of a time that silence was sent for is moved as a whole.
func TestBridgedLate(t *testing.T) {
	x := audio(160)
	hs, _, _ := sent(x, t0, t0.Add(100*time.Millisecond))
	end := hs[len(hs)-1].Timestamp + 160
	p := leg.Outgoing{At: t0.Add(50 * time.Millisecond), Length: 20 * time.Millisecond}
	for i := range 3 {
		h, _ := x.bridged(&p, t0.Add(110*time.Millisecond))
		if h.Timestamp != end+uint32(160*i) {
			t.Errorf("packet %d at %d, want %d", i, h.Timestamp-end, 160*i)
		}
		p.At = p.At.Add(p.Length)
	}
}

// TestBridgedPicture: the packets of a picture share a timestamp that the
// order of decoding does not bind.
func TestBridgedPicture(t *testing.T) {
	x := &transmitter{ssrc: 1, base: 77}
	x.configure(112, 90000, nil, true, t0)
	for _, ms := range []int{40, 40, 120, 80} {
		h, ok := x.bridged(&leg.Outgoing{PayloadType: 112, At: t0.Add(time.Duration(ms) * time.Millisecond), Marker: ms == 80}, t0)
		if !ok || h.Timestamp != 77+uint32(90*ms) || h.Marker != (ms == 80) {
			t.Errorf("%d ms: %+v", ms, h)
		}
	}
	x.configure(112, 90000, nil, false, t0)
	if _, ok := x.bridged(&leg.Outgoing{}, t0); ok {
		t.Error("sent on hold")
	}
}

// TestTransmitterProperty: whatever is sent in whatever order, sequence numbers
// run on, timestamps never go back, and no two pieces of sound overlap.
func TestTransmitterProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := audio(160)
		now := t0
		p := leg.Outgoing{At: t0, Length: packetTime}
		var last *rtp.Header
		sound := false // last was
		check := func(h rtp.Header) {
			event := h.PayloadType == 101
			if last != nil {
				d := int32(h.Timestamp - last.Timestamp)
				if h.SequenceNumber != last.SequenceNumber+1 || d < 0 || sound && d < 160 {
					t.Fatalf("%+v after %+v", h, *last)
				}
			}
			last, sound = &h, !event
		}
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 60).Draw(t, "ms")) * time.Millisecond)
			switch rapid.IntRange(0, 10).Draw(t, "what") {
			case 0:
				x.dial([]byte{1}, now)
			case 1, 2, 3:
				p.At = p.At.Add(packetTime)
				if h, ok := x.bridged(&p, now); ok {
					check(h)
				}
			case 4:
				p.At = now.Add(time.Duration(rapid.IntRange(-3000, 3000).Draw(t, "off")) * time.Millisecond)
			case 5:
				x.configure(8, rapid.SampledFrom([]int{8000, 16000, 48000}).Draw(t, "clock"), make([]byte, 160), rapid.Bool().Draw(t, "sending"), now)
				last = nil // lengths differ in number
			default:
				var buf [4]byte
				for h, _, ok := x.next(now, buf[:]); ok; h, _, ok = x.next(now, buf[:]) {
					check(h)
				}
			}
		}
	})
}

// agreedSection is an audio section with PCMA agreed and the peer at named.
func agreedSection(t testing.TB, kind media.Kind, dir direction) *section {
	t.Helper()
	ours, _ := selectFormats(defaults(t).Codecs, table())
	s := &section{kind: kind, pair: &portPair{port: 4000}, ours: ofKind(ours, kind), cname: "rtp/x/y", want: true}
	s.tx.ssrc = 77
	a := &agreement{sendPT: 8, send: payload{codec: "PCMA", clock: 8000}}
	a.byPT[8] = a.send
	a.byPT[101] = payload{codec: telephoneEvent, clock: 8000, event: true}
	s.configure(a, named, netip.AddrPortFrom(named.Addr(), 4001), dir, make([]byte, 160), 0, 10*time.Second, t0)
	return s
}

func packet(pt uint8, seq uint16, ssrc uint32, payload ...byte) *rtp.Packet {
	return &rtp.Packet{Header: rtp.Header{Version: 2, PayloadType: pt, SequenceNumber: seq, SSRC: ssrc, Timestamp: uint32(seq) * 160}, Payload: payload}
}

// TestReports: a compound of SR or RR with the canonical name, the first one
// early, then between 2 and 6.2 s apart; BYE at the end.
func TestReports(t *testing.T) {
	s := agreedSection(t, media.Audio, sendrecv)
	if b, _ := s.farewell(t0); b != nil {
		t.Error("BYE of a member that never took part")
	}
	s.admit(packet(8, 1, 5, 1), 13, named, t0)
	now := t0
	for i := range 50 {
		due := s.rtcpAt
		gap := due.Sub(now)
		if lo, hi := 2*time.Second, 6200*time.Millisecond; i > 0 && (gap < lo || gap > hi) || i == 0 && gap > 1300*time.Millisecond {
			t.Fatalf("report %d after %v", i, gap)
		}
		now = due
		if i == 25 {
			s.tx.count(160, now)
		}
		b, to := s.report(now)
		pkts, err := rtcp.Unmarshal(b)
		if err != nil || len(pkts) != 2 || to.Port() != 4001 {
			t.Fatalf("to %v: %v %v", to, pkts, err)
		}
		if sdes := pkts[1].(*rtcp.SourceDescription); sdes.Chunks[0].Source != 77 || sdes.Chunks[0].Items[0].Text != "rtp/x/y" {
			t.Errorf("%+v", sdes)
		}
		switch h := pkts[0].(type) {
		case *rtcp.SenderReport:
			if i < 25 || h.PacketCount != 1 || h.OctetCount != 160 || len(h.Reports) != 1 {
				t.Errorf("report %d: %+v", i, h)
			}
		case *rtcp.ReceiverReport:
			if i == 25 || len(h.Reports) != 1 || h.Reports[0].SSRC != 5 {
				t.Errorf("report %d: %+v", i, h)
			}
		}
		if b, _ := s.report(now); b != nil {
			t.Error("reported twice")
		}
	}
	b, _ := s.farewell(now)
	pkts, err := rtcp.Unmarshal(b)
	if err != nil || len(pkts) != 3 {
		t.Fatalf("%v %v", pkts, err)
	}
	if bye, ok := pkts[2].(*rtcp.Goodbye); !ok || bye.Sources[0] != 77 {
		t.Errorf("%+v", pkts[2])
	}
}

// TestAdmit: agreed payload types pass, telephone-events become digits, the
// rest is counted; a key frame asked for too early is asked for again.
func TestAdmit(t *testing.T) {
	s := agreedSection(t, media.Audio, sendrecv)
	if b, _ := s.keyframeRequest(byPLI, t0); b != nil {
		t.Error("asked nobody for a key frame")
	}
	v, _, ask := s.admit(packet(8, 1, 5, 1), 13, named, t0)
	if v != pass || ask != byPLI {
		t.Errorf("%v %v", v, ask)
	}
	if v, _, _ := s.admit(packet(18, 2, 5, 1), 13, named, t0); v != reject {
		t.Error("payload type 18 passed")
	}
	a, ok := agree(&sdpMedia{kind: media.Audio, formats: []sdpFormat{{pt: 8}}}, s.ours, true)
	if !ok || a.byPT[13] != comfort || !slices.Equal(a.noise, []uint8{13}) || len(a.formats) == 0 || a.formats[0].PayloadType != 8 {
		t.Errorf("comfort noise is not expected beside G.711: %+v", a)
	}
	for _, f := range a.formats {
		if f.PayloadType == 13 {
			t.Error("comfort noise is a format of its own")
		}
	}
	var digits []byte
	for i := range uint16(6) {
		p := packet(101, 3+i, 5, 11, 0x0a, 0, 160)
		p.Timestamp = 1600 * uint32(i/3)
		v, d, _ := s.admit(p, 16, named, t0)
		if v != pass {
			t.Error("a telephone-event leaves a hole in the numbers")
		}
		if d != 0 {
			digits = append(digits, d)
		}
	}
	if string(digits) != "##" {
		t.Errorf("digits %q", digits)
	}
	if st := s.stats("x"); st.PacketsReceived != 7 || st.PacketsRejected != 1 {
		t.Errorf("%+v", st)
	}
	s.refuse()
	if v, _, _ := s.admit(packet(8, 9, 5, 1), 13, named, t0); v != reject {
		t.Error("a refused section takes media")
	}
}

// FuzzDatagram throws anything at the media sockets.
func FuzzDatagram(f *testing.F) {
	ok, err := packet(8, 1, 5, 1, 2, 3).Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(ok)
	f.Add([]byte{0x80, 200, 0, 6, 0, 0, 0, 1})
	f.Add([]byte{0x9f, 8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0xbe, 0xde, 0xff, 0xff})
	f.Add([]byte{0x81, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2})
	f.Fuzz(func(t *testing.T, data []byte) {
		s := agreedSection(t, media.Audio, sendrecv) // new for each: what came before must not matter
		m := &session{sections: []*section{s}, digit: func(string) {}, trace: trace.New(trace.Config{Calls: 1, CallBytes: 1 << 14, TotalBytes: 1 << 20}).Open("x")}
		var b receive.Slab
		got := func(p leg.Packet) {
			if (p.RTP == nil) == (p.RTCP == nil) {
				t.Fatal("neither or both kinds of packet")
			}
			if p.RTP != nil && s.agreed.byPT[p.RTP.PayloadType].codec == "" {
				t.Fatal("a packet with a payload type that was not agreed on")
			}
		}
		if len(data) > maxPacket {
			return
		}
		n := copy(b.Room(), data)
		if isRTCP(data) {
			m.control(s, data, named, t0, got)
			return
		}
		m.media(s, &b, n, named, t0, got)
	})
}

// BenchmarkReceive is the cost of one packet from the socket's buffer to recv.
func BenchmarkReceive(b *testing.B) {
	s := agreedSection(b, media.Audio, sendrecv)
	m := &session{sections: []*section{s}, digit: func(string) {}}
	p := packet(8, 1, 5, make([]byte, 160)...)
	raw, err := p.Marshal()
	if err != nil {
		b.Fatal(err)
	}
	var mem receive.Slab
	recv := func(leg.Packet) {}
	b.ReportAllocs()
	for i := range b.N {
		n := copy(mem.Room(), raw)
		binary.BigEndian.PutUint16(mem.Room()[2:], uint16(i))
		m.media(s, &mem, n, named, t0, recv)
	}
}
