package peers

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
)

// Recipient is an [Answerer] whose media are kept in a file as they come, sound
// and picture put together by the sender reports (RFC 3550 section 6.4.1): PCMA
// and H.264 in packetization mode 1. It sends nothing. (ffmpeg, as a receiver,
// places what it reads late by other reports than what it reads in time.)
type Recipient struct {
	*Answerer
	File string // Matroska, what came unchanged; complete after Finish

	tracks [2]*received
	conns  []net.PacketConn
	mu     sync.Mutex
	wg     sync.WaitGroup
}

// StartRecipient starts a recipient and returns when it takes calls.
func StartRecipient(t testing.TB) *Recipient {
	t.Helper()
	port := Ports(t, 4)
	sdp := fmt.Sprintf("v=0\no=- 1 1 IN IP4 127.0.0.1\ns=-\nc=IN IP4 127.0.0.1\nt=0 0\n"+
		"m=audio %d RTP/AVP 8\na=rtpmap:8 PCMA/8000\na=ptime:20\n"+
		"m=video %d RTP/AVP 112\na=rtpmap:112 H264/90000\na=fmtp:112 packetization-mode=1; profile-level-id=42e01f\n", port, port+2)
	r := &Recipient{File: filepath.Join(t.TempDir(), "received-"+strconv.Itoa(port)+".mkv")}
	for i, c := range []webrtc.RTPCodecCapability{{MimeType: webrtc.MimeTypePCMA, ClockRate: 8000, Channels: 1}, {MimeType: webrtc.MimeTypeH264, ClockRate: 90000}} {
		r.tracks[i] = &received{codec: webrtc.RTPCodecParameters{RTPCodecCapability: c}}
	}
	for i := range 4 {
		c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port + i})
		if err != nil {
			t.Fatalf("recipient: %v", err)
		}
		_ = c.SetReadBuffer(1 << 20)
		r.conns = append(r.conns, c)
		r.wg.Go(func() { r.read(c, r.tracks[i/2], i%2 == 1) })
	}
	t.Cleanup(r.close)
	r.Answerer = StartAnswerer(t, sdp)
	return r
}

// read keeps what comes to a socket until it is closed.
func (r *Recipient) read(c net.PacketConn, tr *received, isRTCP bool) {
	buf := make([]byte, 4096)
	for {
		n, _, err := c.ReadFrom(buf)
		if err != nil {
			return
		}
		b := append([]byte(nil), buf[:n]...)
		r.mu.Lock()
		if !isRTCP {
			var p rtp.Packet
			if p.Unmarshal(b) == nil {
				tr.packets = append(tr.packets, &p)
			}
		} else if pkts, err := rtcp.Unmarshal(b); err == nil {
			for _, k := range pkts {
				if sr, ok := k.(*rtcp.SenderReport); ok {
					tr.report = sr
				}
			}
		}
		r.mu.Unlock()
	}
}

func (r *Recipient) close() {
	for _, c := range r.conns {
		c.Close()
	}
	r.wg.Wait()
}

// Finish ends the reception and completes the file.
func (r *Recipient) Finish(t testing.TB) {
	t.Helper()
	r.close()
	var m matroska
	for _, tr := range r.tracks {
		if len(tr.packets) < 2 || tr.report == nil {
			t.Fatalf("recipient: %d packets of %s, report %v", len(tr.packets), tr.codec.MimeType, tr.report)
		}
		tr.sort()
		if err := tr.write(&m); err != nil {
			t.Fatalf("recipient: what came of %s: %v", tr.codec.MimeType, err)
		}
	}
	if err := os.WriteFile(r.File, m.bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}
