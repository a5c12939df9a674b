// Package media holds the words every other package speaks: what a codec, a
// track, a frame and its parameters are. It knows no protocol; original RTP
// packets ride along on a frame only so that a WebRTC viewer can be given the
// very bytes the caller sent.
package media

import (
	"sync/atomic"
	"time"

	"github.com/pion/rtp"
)

// Kind says whether a track is heard or seen.
type Kind uint8

// The kinds of track.
const (
	Audio Kind = iota + 1
	Video
)

// String returns "audio" or "video", the words SDP uses (RFC 8866 section 5.14).
func (k Kind) String() string {
	switch k {
	case Audio:
		return "audio"
	case Video:
		return "video"
	}
	return "unknown"
}

// Codec is a codec's name as SDP writes it ("H264", "VP8", "opus", "PCMA").
// Each codec's own package holds its constant.
type Codec string

// Params are the decoder parameters in force for a frame. They are immutable:
// a new pointer on a frame means that something changed.
type Params struct {
	// Width and Height are the coded picture size in pixels, 0 when unknown.
	Width, Height int
	// SampleRate is in Hz and Channels counts channels; 0 for video.
	SampleRate, Channels int
	// FrameRate is in pictures per second, 0 when unknown.
	FrameRate float64
	// Reorder is how many pictures may come before one that is shown earlier
	// (B-frames), as the codec's header says; 0 also when it does not say.
	Reorder int
	// Sets are the codec's out-of-band headers in decoding order: SPS and PPS
	// for H.264 (without start codes), the AudioSpecificConfig for AAC.
	Sets [][]byte
}

// Frame is one access unit: a coded picture, or the sound of one packet. Once
// written to a stream it is shared by all sinks and never changed.
type Frame struct {
	Track  *Track
	Params *Params

	// PTS and DTS are on the stream's timeline, which starts near zero when
	// the stream's first packet arrives. DTS strictly grows within a track.
	PTS, DTS time.Duration
	// Duration is the length of an audio frame; 0 for video.
	Duration time.Duration
	// NTP is the sender's wall clock at capture, zero if unknown.
	NTP time.Time
	// Arrival is when the frame's last packet was read from the network.
	Arrival time.Time

	// Key says that decoding may start here. Always true for audio.
	Key bool
	// Gap says that something was lost directly before this frame.
	Gap bool
	// Filler marks generated media that stands in for what did not arrive.
	Filler bool
	// Noise is not 0 where a sender of sound says that it is silent from here
	// on, and how loud its silence is (comfort noise, RFC 3389): -127 to -1
	// dBov. Such a frame has no Data; conversions get it, sinks do not.
	Noise int8

	// Data holds NAL units without start codes (H.264), one whole frame (VP8)
	// or one packet's worth of coded audio.
	Data [][]byte
	// Packets are the RTP packets the frame came in, if it came as RTP.
	Packets []*rtp.Packet
}

// Size is the number of payload bytes.
func (f *Frame) Size() int {
	n := 0
	for _, d := range f.Data {
		n += len(d)
	}
	return n
}

// Track describes one elementary stream. All fields are set before the track
// is added to a stream and not changed afterwards.
type Track struct {
	// ID is unique within its stream: "audio", "video".
	ID   string
	Kind Kind
	// Codec never changes; another codec is another track.
	Codec Codec
	// ClockRate is that of the RTP timestamps in Hz (8000 for G.722 too, RFC 3551 section 4.5.2).
	ClockRate int
	// Channels is 1 or 2 for audio, 0 for video.
	Channels int
	// RequestKeyframe asks the source for a picture to start from. Safe from
	// any goroutine; coalesced and rate-limited at the source. Nil when the
	// source cannot be asked.
	RequestKeyframe func()

	params atomic.Pointer[Params]
}

// Params returns the newest known decoder parameters, nil before the first.
func (t *Track) Params() *Params { return t.params.Load() }

// SetParams records the parameters of the newest frame. Called by the source
// before it writes that frame.
func (t *Track) SetParams(p *Params) {
	if t.params.Load() != p {
		t.params.Store(p)
	}
}

// AskKeyframe calls RequestKeyframe when the source offers it.
func (t *Track) AskKeyframe() {
	if t != nil && t.Kind == Video && t.RequestKeyframe != nil {
		t.RequestKeyframe()
	}
}
