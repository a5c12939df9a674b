package webrtc

import (
	"strconv"
	"strings"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/sdp/v3"

	"lineout/media"
)

// playoutDelay is the header extension that tells a browser how long to keep
// pictures back before showing them.
const playoutDelay = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay"

// The extension counts in steps of 10 ms, in twelve bits. Chromium takes 10 s
// as its largest delay when nothing is said.
const (
	playoutStep = 10 * time.Millisecond
	maxPlayout  = 10 * time.Second
)

// holdback is the playout-delay extension of a viewer's video.
//
// A browser plays sound some 60 to 80 ms after it came, because its jitter
// buffer holds no less, and pictures at once. It finds out from the sender
// reports that they do not match, but moves the picture in small steps over
// ten seconds and more, and leaves 30 ms as they are. Told beforehand how long
// its sound will take, it shows both in step from the first picture on.
type holdback struct {
	id   uint8 // 0: the player does not know the extension, or there is no need
	data []byte
}

// newHoldback is for a player that gets both kinds of media: without sound,
// the picture has nothing to wait for.
func newHoldback(off *offer, least time.Duration) holdback {
	var video *section
	both := 0
	for _, s := range off.sections {
		if s.chosen == nil {
			continue
		}
		both++
		if s.kind == media.Video {
			video = s
		}
	}
	if video == nil || both < 2 || least < playoutStep {
		return holdback{}
	}
	video.extension = video.offersExtension(playoutDelay)
	lo, hi := uint32(min(least, maxPlayout)/playoutStep), uint32(maxPlayout/playoutStep)
	v := lo<<12 | hi
	return holdback{id: video.extension, data: []byte{byte(v >> 16), byte(v >> 8), byte(v)}}
}

// put adds the extension to a header.
func (b holdback) put(h *rtp.Header) {
	if b.id != 0 {
		_ = h.SetExtension(b.id, b.data) // id and length are in range
	}
}

// offersExtension returns the id offered for a header extension, 0 if there is
// none that fits the one-byte form (RFC 8285 section 4.2).
func (s *section) offersExtension(uri string) uint8 {
	for _, a := range s.media.Attributes {
		if a.Key != "extmap" {
			continue
		}
		id, rest, _ := strings.Cut(a.Value, " ")
		f := strings.Fields(rest)
		id, direction, _ := strings.Cut(id, "/")
		n, err := strconv.ParseUint(id, 10, 8)
		if err == nil && n >= 1 && n <= 14 && len(f) > 0 && f[0] == uri && (direction == "" || direction == "sendrecv" || direction == "recvonly") {
			return uint8(n)
		}
	}
	return 0
}

// extmap is the answer's line for the extension.
func (s *section) extmap() sdp.Attribute {
	return sdp.Attribute{Key: "extmap", Value: strconv.Itoa(int(s.extension)) + " " + playoutDelay}
}
