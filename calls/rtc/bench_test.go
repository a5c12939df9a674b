package rtc

import (
	"testing"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"

	"lineout/media"
)

// testKeys makes contexts of a fixed key.
func testKeys() func(testing.TB) *srtp.Context {
	return func(t testing.TB) *srtp.Context {
		t.Helper()
		c, err := srtp.CreateContext(make([]byte, 16), make([]byte, 12), srtp.ProtectionProfileAeadAes128Gcm)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
}

// forwarding is a session that sends for a benchmark, to a connected browser
// or to nobody.
func forwarding(b *testing.B, connected bool) *session {
	s := newService(b, nil)
	if connected {
		return dial(b, s, newBrowser(b, kinds[:]), both).media
	}
	p, _, err := s.newPeer(b.Context(), Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(p.discard)
	m := newSession(p, []*agreement{{kind: media.Video, send: true, formats: []agreedFormat{{wireFormat: &wireFormats[5], pt: 96}}}})
	m.sections[media.Video].start(testKeys()(b), time.Now())
	return m
}

// BenchmarkForward is the cost of a packet of another leg: numbering and
// encryption alone, and with ICE and the socket.
func BenchmarkForward(b *testing.B) {
	for _, c := range []struct {
		name      string
		connected bool
	}{{"seal", false}, {"send", true}} {
		b.Run(c.name, func(b *testing.B) {
			m := forwarding(b, c.connected)
			pt := uint8(0)
			for i, f := range m.byPT {
				if f != nil && f.section == m.sections[media.Video] {
					pt = uint8(i)
				}
			}
			p := &rtp.Packet{Header: rtp.Header{Version: 2, SSRC: 7}, Payload: make([]byte, 1000)}
			now := time.Now()
			send := func() {
				p.SequenceNumber++
				p.Timestamp += 3000
				if err := m.ForwardRTP(media.Video, pt, p, now); err != nil {
					b.Fatal(err)
				}
			}
			for range 2 * ringSize { // the ring has its memory
				send()
			}
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				send()
			}
		})
	}
}

// BenchmarkReceive is the cost of a packet from the connection to recv.
func BenchmarkReceive(b *testing.B) {
	s := newService(b, nil)
	p, _, err := s.newPeer(b.Context(), Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(p.discard)
	m := newSession(p, []*agreement{{kind: media.Video, receive: true, formats: []agreedFormat{{wireFormat: &wireFormats[5], pt: 96, feedback: []string{"nack"}}}}})
	c := &secured{open: testKeys()(b), since: time.Now()}
	m.secured.Store(c)
	seal := testKeys()(b)
	r := &reader{m: m, known: map[uint32]bool{}}
	plain, _ := (&rtp.Packet{Header: rtp.Header{Version: 2, PayloadType: 96, SSRC: 7}, Payload: make([]byte, 1000)}).Marshal()
	var out [1500]byte
	var h rtp.Header
	now := time.Now()
	b.ReportAllocs()
	for i := range b.N {
		plain[2], plain[3] = byte(i>>8), byte(i)
		sealed, err := seal.EncryptRTP(out[:0], plain, &h)
		if err != nil {
			b.Fatal(err)
		}
		r.rtp(c, copy(r.slab.Room(), sealed), now)
	}
	if m.sections[media.Video].packets != uint64(b.N) {
		b.Fatalf("%d of %d packets were taken", m.sections[media.Video].packets, b.N)
	}
}
