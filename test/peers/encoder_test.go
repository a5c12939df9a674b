package peers

import (
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"

	"lineout/test/media"
)

// TestEncoder holds what tests rely on: every packet and frame of the clip comes
// from the announced ports, at 20 ms a packet of sound, and both tracks have sender reports of one clock.
func TestEncoder(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ program, audio, video string }{
		{FFmpeg, PCMA, H264}, {FFmpeg, OpusStereo, VP8Copy}, {GStreamer, PCMU, VP8}, {GStreamer, G722, H264},
	} {
		t.Run(c.program+"/"+c.audio+"/"+c.video, func(t *testing.T) {
			t.Parallel()
			e := NewEncoder(t, EncoderConfig{Program: c.program, Audio: Encode(t, c.program, c.audio), Video: Encode(t, c.program, c.video)})
			to := Ports(t, 4)
			audio, video := hear(t, to, e.AudioPort), hear(t, to+2, e.VideoPort)
			e.Start(t, to, to+2)
			e.Wait(t, 30*time.Second)
			a, v := audio(), video()
			if a.packets != media.WideSeconds*50 && a.packets != media.WideSeconds*50+1 || a.lost > 0 {
				t.Errorf("sound: %+v, want %d packets", a, media.WideSeconds*50)
			}
			if v.timestamps != media.WideSeconds*media.FPS || v.lost > 0 {
				t.Errorf("picture: %+v, want %d frames", v, media.WideSeconds*media.FPS)
			}
			if a.reports == 0 || v.reports == 0 {
				t.Errorf("sender reports: %d of the sound, %d of the picture", a.reports, v.reports)
			}
		})
	}
}

type heard struct{ packets, lost, timestamps, reports int }

// hear listens on an RTP port and the RTCP port after it, for packets from a
// port, until the function it returns is called.
func hear(t *testing.T, port, from int) func() heard {
	t.Helper()
	var h heard
	var last rtp.Header
	stop := make([]func(), 0, 2)
	listen := func(port, from int, take func([]byte)) {
		c, err := net.ListenPacket("udp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			buf := make([]byte, 2000)
			for {
				n, src, err := c.ReadFrom(buf)
				if err != nil {
					return
				}
				if src.(*net.UDPAddr).Port != from {
					t.Errorf("a packet from port %d, announced was %d", src.(*net.UDPAddr).Port, from)
					continue
				}
				take(buf[:n])
			}
		}()
		stop = append(stop, func() { c.Close(); <-done })
	}
	listen(port, from, func(b []byte) {
		var p rtp.Packet
		if err := p.Unmarshal(b); err != nil {
			t.Error(err)
			return
		}
		if h.packets > 0 {
			h.lost += int(int16(p.SequenceNumber - last.SequenceNumber - 1))
		}
		if h.packets == 0 || p.Timestamp != last.Timestamp {
			h.timestamps++
		}
		h.packets++
		last = p.Header
	})
	listen(port+1, from+1, func(b []byte) {
		pkts, err := rtcp.Unmarshal(b)
		if err != nil {
			t.Error(err)
		}
		for _, p := range pkts {
			if _, ok := p.(*rtcp.SenderReport); ok {
				h.reports++
			}
		}
	})
	return func() heard {
		for _, f := range stop {
			f()
		}
		return h
	}
}

func TestAnswerer(t *testing.T) {
	t.Parallel()
	e := NewEncoder(t, EncoderConfig{Program: FFmpeg, Audio: Encode(t, FFmpeg, PCMA)})
	a := StartAnswerer(t, e.SDP(false))
	p := StartSoftphone(t, SoftphoneConfig{Video: None})
	p.Dial(t, fmt.Sprintf("sip:%s@127.0.0.1:%d", a.User, a.Port))
	p.WaitEvent(t, "CALL_ESTABLISHED")
	p.Hangup(t)
	p.WaitEvent(t, "CALL_CLOSED")
}
