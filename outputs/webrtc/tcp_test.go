package webrtc

import (
	"net"
	"strings"
	"testing"

	"github.com/pion/webrtc/v4"

	"lineout/codecs/g711"
	"lineout/codecs/h264"
)

// A player whose network lets no UDP through gets its media over ICE-TCP.
func TestPlayOverTCP(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := ln.Addr().(*net.TCPAddr).Port
	_ = ln.Close()
	r := newRig(t, func(c *Config) { c.TCPPort = port })
	s := newSource(t, r, "s", g711.CodecPCMA, h264.Codec)
	s.st.SetReady()
	s.play(t)
	var me webrtc.MediaEngine
	if err := me.RegisterDefaultCodecs(); err != nil {
		t.Fatal(err)
	}
	var se webrtc.SettingEngine
	se.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeTCP4})
	se.SetIncludeLoopbackCandidate(true)
	p := newPlayerWith(t, &me, se, aud, vid)
	p.whep(t, r, "s")
	if !strings.Contains(p.answer, "tcptype passive") {
		t.Fatalf("no TCP candidate in\n%s", p.answer)
	}
	for range 20 {
		p.next(t)
	}
}
