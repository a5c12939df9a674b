package webrtc

import (
	"net"
	"testing"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"

	"lineout/codecs/h264"
	"lineout/media"
)

// discard is a network that takes everything.
type discard struct {
	net.Conn
	closed chan struct{}
}

func (d discard) Write(b []byte) (int, error)      { return len(b), nil }
func (d discard) Read([]byte) (int, error)         { <-d.closed; return 0, net.ErrClosed }
func (d discard) Close() error                     { close(d.closed); return nil }
func (d discard) SetWriteDeadline(time.Time) error { return nil }
func (d discard) SetReadDeadline(time.Time) error  { return nil }

func benchFrame() (*lane, *media.Frame) {
	l := newLane(media.Video, h264.Codec, DefaultConfig())
	tr := &media.Track{ID: "video", Kind: media.Video, Codec: h264.Name, ClockRate: 90000}
	f := &media.Frame{Track: tr, Data: [][]byte{{0x41}}}
	for range 4 {
		f.Packets = append(f.Packets, &rtp.Packet{Payload: make([]byte, 1100)})
	}
	return l, f
}

func benchSend(b *testing.B, w interface {
	WriteRTP(*rtp.Header, []byte) (int, error)
	Write([]byte) (int, error)
}) {
	l, f := benchFrame()
	s := &sender{lane: l, write: w}
	s.header.Version = 2
	o := s.begin(packet{})
	b.ReportAllocs()
	for b.Loop() {
		ps, err := l.pack(f)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := s.send(o, ps); err != nil {
			b.Fatal(err)
		}
		f.PTS += 40 * time.Millisecond
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(f.Packets)), "ns/packet")
}

// BenchmarkPassThrough is one picture of four packets of 1100 bytes to one
// viewer, up to where SRTP begins.
func BenchmarkPassThrough(b *testing.B) { benchSend(b, nullWriter{}) }

// BenchmarkPassThroughSRTP is the same with SRTP, up to the network.
func BenchmarkPassThroughSRTP(b *testing.B) {
	for name, p := range map[string]struct {
		profile   srtp.ProtectionProfile
		key, salt int
	}{"AEAD_AES_128_GCM": {srtp.ProtectionProfileAeadAes128Gcm, 16, 12}, "AES_CM_SHA1": {srtp.ProtectionProfileAes128CmHmacSha1_80, 16, 14}} {
		b.Run(name, func(b *testing.B) {
			key, salt := make([]byte, p.key), make([]byte, p.salt)
			sess, err := srtp.NewSessionSRTP(discard{closed: make(chan struct{})}, &srtp.Config{
				Profile: p.profile,
				Keys:    srtp.SessionKeys{LocalMasterKey: key, LocalMasterSalt: salt, RemoteMasterKey: key, RemoteMasterSalt: salt},
			})
			if err != nil {
				b.Fatal(err)
			}
			defer sess.Close()
			w, err := sess.OpenWriteStream()
			if err != nil {
				b.Fatal(err)
			}
			benchSend(b, w)
		})
	}
}
