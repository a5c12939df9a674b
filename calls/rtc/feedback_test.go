package rtc

import (
	"sync"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"

	"lineout/media"
)

// heard collects what the browser is told by RTCP about a track it sends.
type heard struct {
	mu sync.Mutex
	ps []rtcp.Packet
}

func listen(t *testing.T, b *browser, k media.Kind) *heard {
	h := &heard{}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			ps, _, err := b.senders[k].ReadRTCP()
			if err != nil {
				return
			}
			h.mu.Lock()
			h.ps = append(h.ps, ps...)
			h.mu.Unlock()
		}
	})
	t.Cleanup(func() {
		_ = b.pc.GracefulClose()
		wg.Wait()
	})
	return h
}

func told[T rtcp.Packet](h *heard, ok func(T) bool) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, p := range h.ps {
		if v, is := p.(T); is && ok(v) {
			return true
		}
	}
	return false
}

// The browser is told of what we miss, of what came when, and asked for a key
// frame; its sound and ours are related to one clock.
func TestFeedback(t *testing.T) {
	t.Parallel()
	s := newService(t, nil)
	b := newBrowser(t, kinds[:])
	h := listen(t, b, media.Video)
	p := dial(t, s, b, both)
	in := collect(t, p)
	m := p.Media()
	if ts := m.Tracks(); ts[1].Formats[0].Codec != "H264" {
		t.Fatalf("%+v", ts)
	}
	m.RequestKeyframe() // before anything came: it is asked for with the first packet
	for _, seq := range []uint16{100, 101, 104} {
		if err := b.out[media.Video].WriteRTP(&rtp.Packet{Header: rtp.Header{SequenceNumber: seq, Timestamp: 3000}, Payload: []byte{0x65, 1}}); err != nil {
			t.Fatal(err)
		}
		received(t, in, isRTP(media.Video))
	}
	waitFor(t, "a NACK", func() bool {
		return told(h, func(n *rtcp.TransportLayerNack) bool {
			got := asked(n.Nacks)
			return len(got) == 2 && got[0] == 102 && got[1] == 103
		})
	})
	waitFor(t, "a PLI", func() bool { return told(h, func(*rtcp.PictureLossIndication) bool { return true }) })
	waitFor(t, "a report of reception", func() bool {
		return told(h, func(r *rtcp.ReceiverReport) bool {
			return len(r.Reports) == 1 && r.Reports[0].TotalLost == 2 && r.Reports[0].LastSequenceNumber == 104
		})
	})
	if m.Stats()[1].KeyframeRequests != 1 || m.Stats()[1].PacketsLost != 2 {
		t.Errorf("%+v", m.Stats()[1])
	}
}

// Sender reports say of forwarded packets what the source says of its own:
// sound and picture that belong together by the source's clock, which is hours
// off, belong together by ours.
func TestReportsRelate(t *testing.T) {
	s := newService(t, nil)
	p, _, err := s.newPeer(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.discard()
	as := []*agreement{
		{kind: media.Audio, send: true, formats: []agreedFormat{{wireFormat: &wireFormats[0], pt: 111}}},
		{kind: media.Video, send: true, formats: []agreedFormat{{wireFormat: &wireFormats[5], pt: 96}}},
	}
	m := newSession(p, as)
	now := time.Now()
	keys := testKeys()
	for _, sec := range m.sections[1:] {
		sec.start(keys(t), now)
	}
	const ntp = uint64(3_000_000_000) << 32 // some moment of 1995
	m.ForwardReport(media.Audio, 1, ntp, 48000)
	m.ForwardReport(media.Video, 2, ntp, 900000)
	forward := func(k media.Kind, pt uint8, ssrc, ts uint32) uint32 {
		t.Helper()
		src := &rtp.Packet{Header: rtp.Header{SSRC: ssrc, Timestamp: ts}, Payload: []byte{1}}
		if err := m.ForwardRTP(k, pt, src, now); err != nil {
			t.Fatal(err)
		}
		sec := m.sections[k]
		head := sec.head
		return head.Timestamp
	}
	// The same moment of the source: half a second after the reports. Its picture
	// arrived 300 ms late, of which the reports must say nothing.
	now = now.Add(500 * time.Millisecond)
	audio := forward(media.Audio, 111, 1, 48000+24000)
	now = now.Add(300 * time.Millisecond)
	video := forward(media.Video, 96, 2, 900000+45000)
	at := func(k media.Kind, ts uint32, hz float64) float64 {
		r, ok := m.sections[k].report(now).(*rtcp.SenderReport)
		if !ok {
			t.Fatal("no sender report")
		}
		return float64(r.NTPTime)/(1<<32) + float64(int32(ts-r.RTPTime))/hz
	}
	a, v := at(media.Audio, audio, 48000), at(media.Video, video, 90000)
	if d := a - v; d > 0.002 || d < -0.002 {
		t.Errorf("sound and picture are %.1f ms apart", 1000*d)
	}
	if off := a - float64(now.Unix()+2208988800); off < -5 || off > 5 {
		t.Errorf("reports are %.0f s off our clock", off)
	}
}
