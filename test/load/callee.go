//go:build e2e

package load

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/rtp/codecs"
	"github.com/pion/sdp/v3"

	"lineout/test/media"
)

// callee answers every call at once and sends the test clip: H.264 in
// packetization mode 1 and PCMA, with sender reports. One goroutine sends for all
// calls, so that the measurement of the server is disturbed as little as can be.
type callee struct {
	sound   []byte     // PCMA
	picture [][][]byte // RTP payloads of each frame
	ua      *sipgo.UserAgent
	conn    net.PacketConn

	mu    sync.Mutex
	calls map[string]*sending
}

// sending is the media of one call.
type sending struct {
	audio, video track
	begin        time.Time
	ticks        int // of 20 ms
	shift        int // of the clip, so that not all calls have their key frame at once
}

type track struct {
	conn, rtcp *net.UDPConn // connected
	header     rtp.Header
	base       uint32
	packets    uint32
	octets     uint32
}

func newCallee(clips string) (*callee, error) {
	sound, err := os.ReadFile(filepath.Join(clips, media.PCMA))
	if err != nil {
		return nil, fmt.Errorf("load callee: %w", err)
	}
	h264, err := os.ReadFile(filepath.Join(clips, media.H264))
	if err != nil {
		return nil, fmt.Errorf("load callee: %w", err)
	}
	c := &callee{sound: sound, picture: payloads(h264), calls: map[string]*sending{}}
	if c.conn, err = net.ListenPacket("udp", "127.0.0.1:0"); err != nil {
		return nil, fmt.Errorf("load callee: %w", err)
	}
	if c.ua, err = sipgo.NewUA(); err != nil {
		return nil, fmt.Errorf("load callee: %w", err)
	}
	return c, nil
}

// payloads cuts an Annex B stream into frames and these into RTP payloads (RFC 6184).
func payloads(annexB []byte) (out [][][]byte) {
	var p codecs.H264Payloader
	var frame []byte
	shown := false // the frame being gathered has a slice
	for _, nal := range bytes.Split(annexB, []byte{0, 0, 1}) {
		nal = bytes.TrimRight(nal, "\x00")
		if len(nal) < 2 {
			continue
		}
		slice := nal[0]&0x1f == 1 || nal[0]&0x1f == 5
		if shown && (!slice || nal[1]&0x80 != 0) { // not a slice, or the first one of a picture (first_mb_in_slice is 0)
			out = append(out, p.Payload(1200, frame))
			frame, shown = nil, false
		}
		shown = shown || slice
		frame = append(append(frame, 0, 0, 1), nal...)
	}
	return append(out, p.Payload(1200, frame))
}

// port is where the callee takes calls.
func (c *callee) port() int { return c.conn.LocalAddr().(*net.UDPAddr).Port }

// run serves until ctx ends.
func (c *callee) run(ctx context.Context) error {
	srv, err := sipgo.NewServer(c.ua)
	if err != nil {
		return fmt.Errorf("load callee: %w", err)
	}
	srv.OnInvite(func(req *sip.Request, tx sip.ServerTransaction) {
		body, err := c.answer(req)
		if err != nil {
			tx.Respond(sip.NewResponseFromRequest(req, 500, err.Error(), nil))
			return
		}
		res := sip.NewSDPResponseFromRequest(req, body)
		res.AppendHeader(&sip.ContactHeader{Address: sip.Uri{Scheme: "sip", User: "load", Host: "127.0.0.1", Port: c.port()}})
		tx.Respond(res)
	})
	srv.OnAck(func(*sip.Request, sip.ServerTransaction) {})
	srv.OnBye(func(req *sip.Request, tx sip.ServerTransaction) {
		c.end(req.CallID().Value())
		tx.Respond(sip.NewResponseFromRequest(req, 200, "OK", nil))
	})
	served := make(chan error, 1)
	go func() { served <- srv.ServeUDP(c.conn) }()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case now := <-tick.C:
			c.send(now)
		case <-ctx.Done():
		}
	}
	c.ua.Close()
	c.conn.Close()
	<-served // the error is that of the closed socket
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.calls {
		s.close()
	}
	return nil
}

func (c *callee) end(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.calls[id]; s != nil {
		s.close()
		delete(c.calls, id)
	}
}

func (s *sending) close() {
	for _, t := range []*track{&s.audio, &s.video} {
		if t.conn != nil {
			t.conn.Close()
			t.rtcp.Close()
		}
	}
}

// answer starts the media of a call and returns the SDP that says so.
func (c *callee) answer(req *sip.Request) ([]byte, error) {
	var offer sdp.SessionDescription
	if err := offer.Unmarshal(req.Body()); err != nil {
		return nil, fmt.Errorf("offer: %w", err)
	}
	s := &sending{begin: time.Now(), shift: rand.IntN(media.Frames / 2 * 2)}
	out := "v=0\r\no=load 1 1 IN IP4 127.0.0.1\r\ns=load\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
	for _, m := range offer.MediaDescriptions {
		t, pt, text := &s.audio, 8, "m=audio %d RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\na=ptime:20\r\na=sendonly\r\n"
		if m.MediaName.Media == "video" {
			t, pt = &s.video, 0
			for _, a := range m.Attributes {
				if a.Key == "fmtp" && strings.Contains(a.Value, "packetization-mode=1") {
					number, _, _ := strings.Cut(a.Value, " ")
					pt, _ = strconv.Atoi(number)
				}
			}
			if pt == 0 {
				return nil, fmt.Errorf("the offer has no H264 in packetization mode 1")
			}
			text = fmt.Sprintf("m=video %%d RTP/AVP %d\r\na=rtpmap:%d H264/90000\r\na=fmtp:%d packetization-mode=1;profile-level-id=42e01f\r\na=rtcp-fb:%d nack pli\r\na=sendonly\r\n", pt, pt, pt, pt)
		}
		if err := t.open(m.MediaName.Port.Value, uint8(pt)); err != nil {
			return nil, err
		}
		out += fmt.Sprintf(text, t.conn.LocalAddr().(*net.UDPAddr).Port)
		out += "a=rtcp:" + strconv.Itoa(t.rtcp.LocalAddr().(*net.UDPAddr).Port) + "\r\n"
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls[req.CallID().Value()] = s
	return []byte(out), nil
}

func (t *track) open(port int, pt uint8) (err error) {
	local := &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}
	if t.conn, err = net.DialUDP("udp", local, &net.UDPAddr{IP: local.IP, Port: port}); err != nil {
		return fmt.Errorf("send to port %d: %w", port, err)
	}
	if t.rtcp, err = net.DialUDP("udp", local, &net.UDPAddr{IP: local.IP, Port: port + 1}); err != nil {
		t.conn.Close()
		return fmt.Errorf("send to port %d: %w", port+1, err)
	}
	t.base = rand.Uint32()
	t.header = rtp.Header{Version: 2, PayloadType: pt, SSRC: rand.Uint32(), SequenceNumber: uint16(rand.Uint32())}
	return nil
}

// send sends what is due.
func (c *callee) send(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.calls {
		for ; s.begin.Add(time.Duration(s.ticks) * 20 * time.Millisecond).Before(now); s.ticks++ {
			s.tick(c, now)
		}
	}
}

func (s *sending) tick(c *callee, now time.Time) {
	if s.audio.conn != nil {
		at := (s.shift*320 + s.ticks*160) % len(c.sound)
		s.audio.write(uint32(s.ticks*160), s.ticks == 0, c.sound[at:at+160])
	}
	if s.video.conn != nil && s.ticks%2 == 0 {
		frame := c.picture[(s.shift+s.ticks/2)%len(c.picture)]
		for i, p := range frame {
			s.video.write(uint32(s.ticks*1800), i == len(frame)-1, p)
		}
	}
	if s.ticks%250 == 10 { // every 5 s
		s.audio.report(now, uint32(s.ticks*160))
		s.video.report(now, uint32(s.ticks*1800))
	}
}

func (t *track) write(ts uint32, marker bool, payload []byte) {
	t.header.Timestamp, t.header.Marker = t.base+ts, marker
	t.header.SequenceNumber++
	var buf [1500]byte
	n, err := t.header.MarshalTo(buf[:])
	if err != nil {
		panic(err) // the header is ours
	}
	n += copy(buf[n:], payload)
	t.conn.Write(buf[:n]) // an error is the server's loss, which the measurement shows
	t.packets++
	t.octets += uint32(len(payload))
}

func (t *track) report(now time.Time, ts uint32) {
	if t.conn == nil {
		return
	}
	ntp := make([]byte, 8)
	binary.BigEndian.PutUint32(ntp, uint32(now.Unix()+2208988800)) // seconds from 1900 to 1970
	binary.BigEndian.PutUint32(ntp[4:], uint32(uint64(now.Nanosecond())<<32/1e9))
	sr := &rtcp.SenderReport{SSRC: t.header.SSRC, NTPTime: binary.BigEndian.Uint64(ntp), RTPTime: t.base + ts, PacketCount: t.packets, OctetCount: t.octets}
	cname := &rtcp.SourceDescription{Chunks: []rtcp.SourceDescriptionChunk{{Source: t.header.SSRC, Items: []rtcp.SourceDescriptionItem{{Type: rtcp.SDESCNAME, Text: "load"}}}}}
	if b, err := rtcp.Marshal([]rtcp.Packet{sr, cname}); err == nil {
		t.rtcp.Write(b)
	}
}
