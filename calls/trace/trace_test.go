package trace

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"lineout/media"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	here  = netip.MustParseAddrPort("0.0.0.0:30000")
	there = netip.MustParseAddrPort("192.0.2.9:5060")
)

func config() Config { return Config{Calls: 3, CallBytes: 16 << 10, TotalBytes: 1 << 20} }

func sip(id, extra string) []byte {
	return []byte("INVITE sip:a@b SIP/2.0\r\nVia: x\r\nCall-ID: " + id + "\r\n" + extra + "\r\n")
}

func rtpPacket(seq uint16, size int) []byte {
	b := make([]byte, 12+size)
	b[0], b[1] = 0x80, 8
	binary.BigEndian.PutUint16(b[2:], seq)
	binary.BigEndian.PutUint32(b[8:], 0xabcd)
	for i := range size {
		b[12+i] = 0x55
	}
	return b
}

// Credentials, media keys, passwords in addresses and digits are written over;
// all else and every length stays.
func TestMask(t *testing.T) {
	in := "INFO sip:bob:hunter2@b SIP/2.0\r\nAuthorization: Digest username=\"u\", realm=\"r\",\r\n response=\"deadbeef\", nonce=\"n0nce\"\r\n" +
		"proxy-authorization : Basic c2VjcmV0\r\nTo: <sip:alice@h:5060>\r\nContent-Type: application/dtmf-relay\r\n\r\nSignal=7\r\nDuration=160\r\n" +
		"a=crypto:1 AES inline:k3y\r\nk=clear:k3y\r\na=x\r\n"
	out := Mask([]byte(in))
	for _, secret := range []string{"hunter2", "deadbeef", "n0nce", "c2VjcmV0", "k3y", "=7"} {
		if strings.Contains(out, secret) {
			t.Errorf("%q is shown:\n%s", secret, out)
		}
	}
	for _, plain := range []string{`username="u"`, `realm="r"`, "sip:bob:", "<sip:alice@h:5060>", "Duration=160", "a=x"} {
		if !strings.Contains(out, plain) {
			t.Errorf("%q is hidden:\n%s", plain, out)
		}
	}
	if len(out) != len(in) || strings.Count(out, "\r\n") != strings.Count(in, "\r\n") {
		t.Errorf("the form changed:\n%s", out)
	}
	if out := Mask([]byte("INFO sip:a SIP/2.0\r\nc: application/dtmf\r\n\r\n5")); strings.HasSuffix(out, "5") {
		t.Error(out)
	}
}

func FuzzMask(f *testing.F) {
	f.Add([]byte("A\r\nAuthorization: Digest username=\"\r\n x\r\n\r\nSignal="))
	f.Fuzz(func(t *testing.T, b []byte) {
		if out := Mask(b); len(out) != len(b) {
			t.Errorf("%d bytes became %d", len(b), len(out))
		}
		callID(b)
		headerLen(b)
	})
}

// Messages go to their call by its Call-ID; those of nobody's call are not kept.
func TestMessages(t *testing.T) {
	r := New(config())
	c := r.Open("a@1")
	r.Message(true, here, there, sip("a@1", ""))
	r.Message(false, here, there, []byte("SIP/2.0 200 OK\r\ni: a@1\r\n\r\n"))
	r.Message(false, here, there, sip("b", ""))
	r.Message(false, here, there, []byte("OPTIONS x SIP/2.0\r\n\r\nCall-ID: a@1\r\n"))
	s := c.Snapshot()
	if len(s.Messages) != 2 || !s.Messages[0].Sent || s.Messages[1].Sent || s.Messages[1].Remote != there {
		t.Errorf("%+v", s.Messages)
	}
	if r.Find("b") != nil || r.Find("a@1") != c {
		t.Error("a stranger's message made a call")
	}
}

// A call keeps its first messages and its newest, within bounds.
func TestMessageBounds(t *testing.T) {
	r := New(config())
	c := r.Open("a")
	for i := range 2000 {
		r.Message(true, here, there, sip("a", fmt.Sprintf("N: %d\r\nX: %s\r\n", i, strings.Repeat("y", 500))))
	}
	s := c.Snapshot()
	size := 0
	for _, m := range s.Messages {
		size += len(m.Text)
	}
	if size > maxText || len(s.Messages) > maxMessages || s.Forgotten != 2000-len(s.Messages) {
		t.Errorf("%d messages of %d bytes, %d forgotten", len(s.Messages), size, s.Forgotten)
	}
	for i, want := range map[int]string{0: "N: 0\r", keepFirst - 1: "N: 23\r", len(s.Messages) - 1: "N: 1999\r"} {
		if !strings.Contains(s.Messages[i].Text, want) {
			t.Errorf("message %d is not %q", i, want)
		}
	}
}

// The recorder forgets the oldest ended calls, never running ones, and takes no
// packets when there is no memory for them.
func TestRecorderBounds(t *testing.T) {
	cfg := config()
	cfg.TotalBytes = 400 << 10 // 6 calls of 64 KiB
	r := New(cfg)
	running := r.Open("running")
	for i := range 10 {
		r.Open(fmt.Sprint("e", i)).End(nil)
	}
	r.Open("last")
	if r.Find("running") != running || r.Find("e6") != nil || r.Find("e7") == nil || r.Find("e9") == nil {
		t.Errorf("kept: %d calls", len(r.List()))
	}
	var c *Call
	for i := range 10 {
		c = r.Open(fmt.Sprint("r", i))
	}
	if c.room != 0 || r.Find("e9") != nil || r.Find("r0") == nil {
		t.Errorf("room %d", c.room)
	}
	c.Sent(media.Audio, false, 4000, there, rtpPacket(1, 160), Plain)
	if s := c.Snapshot(); s.Packets != 0 || s.Seen != 1 || s.Flows[0].Packets != 1 {
		t.Errorf("%+v", s)
	}
	again := r.Open("r0") // the Call-ID is used again
	if r.Find("r0") != again || len(r.List()) != 12 {
		t.Errorf("%d calls", len(r.List()))
	}
}

// The first packets stay and the newest do; refused ones are counted only.
func TestPackets(t *testing.T) {
	r := New(config())
	c := r.Open("a")
	total := (16 << 10) / headerSlot
	for i := range 1000 {
		c.Received(media.Audio, false, 4000, there, rtpPacket(uint16(i), 160), time.Unix(0, int64(i)), false, Plain)
	}
	c.Received(media.Audio, false, 4000, netip.MustParseAddrPort("203.0.113.5:9"), rtpPacket(1, 1), time.Now(), true, Plain)
	var seqs []int
	c.ring.each(func(p packet) {
		if p.length != 172 || len(p.bytes) != 12 {
			t.Fatalf("length %d, kept %d", p.length, len(p.bytes))
		}
		seqs = append(seqs, int(binary.BigEndian.Uint16(p.bytes[2:])))
	})
	first := total / 4
	if len(seqs) != total || seqs[0] != 0 || seqs[first-1] != first-1 || seqs[total-1] != 999 || seqs[first] != 1000-(total-first) {
		t.Errorf("kept %v", seqs)
	}
	for i := 1; i < len(seqs); i++ {
		if seqs[i] <= seqs[i-1] {
			t.Fatalf("out of order: %v", seqs)
		}
	}
	s := c.Snapshot()
	if len(s.Flows) != 2 || s.Flows[0].Packets != 1000 || s.Flows[1].Refused != 1 || s.Flows[1].Packets != 0 || len(s.Flows[0].SSRCs) != 1 || s.Flows[0].PayloadTypes[0] != 8 {
		t.Errorf("%+v", s.Flows)
	}
	for i := range 100 { // strangers cannot grow it
		c.Received(media.Audio, false, 4000, netip.AddrPortFrom(there.Addr(), uint16(i+1)), rtpPacket(1, 1), time.Now(), true, Plain)
	}
	if n := len(c.Snapshot().Flows); n != maxFlows {
		t.Errorf("%d flows", n)
	}
}

// A packet costs no allocation.
func TestPacketAllocatesNothing(t *testing.T) {
	c := New(config()).Open("a")
	b := rtpPacket(1, 160)
	now := time.Now()
	c.Received(media.Audio, false, 4000, there, b, now, false, Plain)
	if n := testing.AllocsPerRun(1000, func() { c.Received(media.Audio, false, 4000, there, b, now, false, Plain) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// Media bytes are in the trace only when asked for, and then whole.
func TestWholePackets(t *testing.T) {
	for _, whole := range []bool{false, true} {
		cfg := config()
		cfg.Media = whole
		c := New(cfg).Open("a")
		c.Host("198.51.100.1")
		c.Received(media.Audio, false, 4000, there, rtpPacket(1, 160), time.Now(), false, Plain)
		var b bytes.Buffer
		if err := c.WritePCAP(&b); err != nil {
			t.Fatal(err)
		}
		if got := bytes.Contains(b.Bytes(), []byte{0x55, 0x55}); got != whole {
			t.Errorf("media in the trace: %v, want %v", got, whole)
		}
		head := b.Bytes()[24:]
		kept, length := binary.LittleEndian.Uint32(head[8:]), binary.LittleEndian.Uint32(head[12:])
		if length != 28+172 || (kept == length) != whole || int(kept) != len(head)-16 {
			t.Errorf("%d of %d bytes", kept, length)
		}
		if checksum(head[16:36]) != 0 || !bytes.Equal(head[32:36], []byte{198, 51, 100, 1}) {
			t.Errorf("IP header % x", head[16:36])
		}
	}
}

// Nothing is recorded, and nothing breaks, without a recorder.
func TestNil(t *testing.T) {
	r := New(Config{})
	c := r.Open("a")
	c.Host("h")
	c.Note("n")
	c.Sent(media.Audio, false, 1, there, nil, Plain)
	c.Received(media.Audio, false, 1, there, nil, time.Now(), false, Plain)
	c.End(nil)
	r.Message(true, here, there, sip("a", ""))
	if r.Find("a") != nil || r.List() != nil {
		t.Error("something was recorded")
	}
}

func BenchmarkPacket(b *testing.B) {
	c := New(Config{Calls: 1, CallBytes: 256 << 10, TotalBytes: 1 << 20}).Open("a")
	p, now := rtpPacket(1, 1200), time.Now()
	b.ReportAllocs()
	for b.Loop() {
		c.Received(media.Video, false, 4000, there, p, now, false, Plain)
	}
}

// TestPayloads: whole packets are kept only where the settings say so, of
// encrypted calls only where they say it twice, and of digits never.
func TestPayloads(t *testing.T) {
	for _, c := range []struct {
		cfg                      Config
		plain, encrypted, secret int
	}{
		{Config{}, 12, 12, 12},
		{Config{SRTPMedia: true}, 12, 12, 12},
		{Config{Media: true}, 172, 12, 12},
		{Config{Media: true, SRTPMedia: true}, 172, 172, 12},
	} {
		c.cfg.Calls, c.cfg.CallBytes, c.cfg.TotalBytes = 1, 1<<16, 1<<20
		call := New(c.cfg).Open("x")
		for _, what := range []Content{Plain, Encrypted, Secret} {
			call.Received(media.Audio, false, 4000, there, rtpPacket(1, 160), time.Now(), false, what)
			call.Sent(media.Audio, false, 4000, there, rtpPacket(1, 160), what)
		}
		var got []int
		call.ring.each(func(p packet) { got = append(got, len(p.bytes)) })
		if want := []int{c.plain, c.plain, c.encrypted, c.encrypted, c.secret, c.secret}; !slices.Equal(got, want) {
			t.Errorf("%+v: kept %v, want %v", c.cfg, got, want)
		}
	}
}

// TestRegistrationsAreBounded: the newest messages of the newest registrations.
func TestRegistrationsAreBounded(t *testing.T) {
	r := New(Config{Calls: 1, CallBytes: 1 << 14, TotalBytes: 1 << 20})
	const last = 2*maxRegistrations - 1
	for i := range last + 1 {
		for range 1 + 2*maxRegisters*(i/last) {
			r.Message(true, there, there, fmt.Appendf(nil, "REGISTER sip:x SIP/2.0\r\nt: <sip:a%d@x>\r\ni: %d\r\n\r\n", i, i))
		}
	}
	r.Message(true, there, there, fmt.Appendf(nil, "REGISTER sip:x SIP/2.0\r\nt: <sip:big@x>\r\ni: big\r\n\r\n%s", make([]byte, 2*maxRegisterText)))
	if len(r.regs) != maxRegistrations || len(r.Registering("a0@x")) != 0 || len(r.Registering(fmt.Sprintf("a%d@x", last))) != maxRegisters || len(r.Registering("big@x")) != 1 {
		t.Errorf("%d registrations", len(r.regs))
	}
	if r.Registering("") != nil || (*Recorder)(nil).Registering("a") != nil {
		t.Error("something of nobody")
	}
}
