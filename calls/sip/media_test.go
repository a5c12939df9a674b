package sip

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"

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

// agreedSection is an audio section with PCMA agreed and the peer at named.
func agreedSection(t testing.TB, kind media.Kind, dir direction) *section {
	t.Helper()
	ours, _ := selectFormats(defaults(t).Codecs, table())
	s := &section{kind: kind, pair: &portPair{port: 4000}, ours: ofKind(ours, kind), cname: "rtp/x/y", want: true}
	s.tx.SSRC = 77
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
			s.tx.Packets, s.tx.Octets, s.tx.LastSent = 1, 160, now
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

// TestTraceContent: digits are secret unless they may be written down, and what
// is encrypted on its way is known for that.
func TestTraceContent(t *testing.T) {
	s := agreedSection(t, media.Audio, sendrecv)
	hidden, shown := &session{}, &session{digitsShown: true}
	if hidden.content(s, 8) != trace.Plain || hidden.content(s, 101) != trace.Secret || shown.content(s, 101) != trace.Plain {
		t.Error("without encryption")
	}
	if err := s.guard.use(newCrypto(1, suites[0]), newCrypto(1, suites[0])); err != nil {
		t.Fatal(err)
	}
	if hidden.content(s, 8) != trace.Encrypted || hidden.content(s, 101) != trace.Secret || shown.content(s, 101) != trace.Encrypted {
		t.Error("with encryption")
	}
}
