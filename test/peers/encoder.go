package peers

import (
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"lineout/test/media"
)

// Programs of an [Encoder].
const (
	FFmpeg    = "ffmpeg"
	GStreamer = "gstreamer"
)

// EncoderConfig says what an [Encoder] sends. A nil track is not sent and refused in its SDP.
type EncoderConfig struct {
	Program string // FFmpeg or GStreamer
	Clip    string // file in the clips' folder, Matroska with video and PCM; default [media.Wide], decoded and encoded anew
	Audio   *EncoderTrack
	Video   *EncoderTrack
	Relayed bool // a relay sends from the ports of the SDP, the encoder from others
}

// EncoderTrack is one RTP stream.
type EncoderTrack struct {
	PayloadType int
	Rtpmap      string // "opus/48000/2"
	Fmtp        string // empty: no line
	// Encode says how the clip's raw samples or pictures become the payload, in the
	// program's own words: options of an output file of ffmpeg, or elements of
	// GStreamer from audio/x-raw, video/x-raw (with Clip: from what it holds) up to
	// and without the RTP payloader's pt and ssrc, which come last and are added.
	Encode string

	clip string // what it is made of, if not the usual

	// recode makes a function that puts another payload in place of each packet's; a [Tap] does it.
	recode func(testing.TB) func(payload []byte) []byte
}

// Encoder is a real encoder that sends a clip once as RTP, in real time, both
// tracks by one process from one clock with sender reports, to ports of
// 127.0.0.1. Its life: [NewEncoder], an SDP answer with [Encoder.SDP] (see
// [Answerer]), then [Encoder.Start] to the ports that the other side or a relay
// receives on, and [Encoder.Wait].
type Encoder struct {
	*Process
	AudioPort, VideoPort int // in the SDP, source of the RTP; RTCP is one above
	cfg                  EncoderConfig
	clip                 string
}

// NewEncoder reserves the ports of an encoder; it starts nothing.
func NewEncoder(t testing.TB, c EncoderConfig) *Encoder {
	t.Helper()
	if c.Clip == "" {
		c.Clip = media.Wide
		if c.Video != nil && c.Video.clip != "" {
			c.Clip = c.Video.clip
		}
	}
	p := Ports(t, 4)
	return &Encoder{AudioPort: p, VideoPort: p + 2, cfg: c, clip: Clips(t) + "/" + c.Clip}
}

// SDP is the description of what is sent, for an offer with one audio and, when
// there is a video section in it (offersVideo), one video section.
func (e *Encoder) SDP(offersVideo bool) string {
	var b strings.Builder
	b.WriteString("v=0\no=- 1 1 IN IP4 127.0.0.1\ns=-\nc=IN IP4 127.0.0.1\nt=0 0\n")
	section := func(kind string, port int, tr *EncoderTrack) {
		if tr == nil {
			fmt.Fprintf(&b, "m=%s 0 RTP/AVP 0\n", kind)
			return
		}
		fmt.Fprintf(&b, "m=%s %d RTP/AVP %d\na=rtpmap:%d %s\n", kind, port, tr.PayloadType, tr.PayloadType, tr.Rtpmap)
		if tr.Fmtp != "" {
			fmt.Fprintf(&b, "a=fmtp:%d %s\n", tr.PayloadType, tr.Fmtp)
		}
		b.WriteString("a=sendonly\n")
	}
	section("audio", e.AudioPort, e.cfg.Audio)
	if offersVideo {
		section("video", e.VideoPort, e.cfg.Video)
	}
	return b.String()
}

// Start starts sending to these ports of 127.0.0.1; RTCP goes to the next port of each.
func (e *Encoder) Start(t testing.TB, audioTo, videoTo int) {
	t.Helper()
	var cmd *exec.Cmd
	switch e.cfg.Program {
	case FFmpeg:
		cmd = exec.Command("ffmpeg", e.ffmpegArgs(audioTo, videoTo)...)
	case GStreamer:
		cmd = exec.Command("gst-launch-1.0", e.gstreamerArgs(audioTo, videoTo)...)
	default:
		t.Fatalf("encoder: no program %q", e.cfg.Program)
	}
	e.Process = start(t, "encoder-"+e.cfg.Program, cmd)
}

// Wait waits for the end of the clip and fails the test unless the program ended
// well. gst-launch sometimes sends everything and then misses that its RTCP has
// ended too: it is given some seconds.
func (e *Encoder) Wait(t testing.TB, timeout time.Duration) {
	t.Helper()
	if e.cfg.Program == GStreamer {
		timeout = min(timeout, (media.WideSeconds+5)*time.Second)
	}
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-e.Done():
		if e.ExitCode() != 0 {
			t.Fatalf("the encoder failed: exit code %d\n%s", e.ExitCode(), e.log.tail(20))
		}
	case <-timer.C:
		if e.cfg.Program != GStreamer {
			t.Fatalf("the encoder still runs after %v\n%s", timeout, e.log.tail(20))
		}
		e.Stop()
	}
}

func (e *Encoder) ffmpegArgs(audioTo, videoTo int) []string {
	args := strings.Fields("-hide_banner -nostdin -loglevel warning -threads 1 -re -i " + e.clip)
	// Else each track's sender reports would count from when its own encoder was ready.
	begin := strconv.FormatInt(time.Now().UnixMicro(), 10)
	output := func(tr *EncoderTrack, what string, from, to int) {
		if tr == nil {
			return
		}
		url := fmt.Sprintf("rtp://127.0.0.1:%d?pkt_size=1200", to)
		if !e.cfg.Relayed {
			url += fmt.Sprintf("&localrtpport=%d&localrtcpport=%d", from, from+1)
		}
		args = append(args, strings.Fields(what+" "+tr.Encode)...)
		args = append(args, "-payload_type", strconv.Itoa(tr.PayloadType), "-start_time_realtime", begin, "-f", "rtp", url)
	}
	output(e.cfg.Audio, "-map 0:a", e.AudioPort, audioTo)
	output(e.cfg.Video, "-map 0:v -vsync passthrough", e.VideoPort, videoTo)
	return args
}

func (e *Encoder) gstreamerArgs(audioTo, videoTo int) []string {
	args := strings.Fields("-q rtpbin name=rtp filesrc location=" + e.clip + " ! matroskademux name=clip")
	session := func(n int, tr *EncoderTrack, from, to int) {
		if tr == nil {
			return
		}
		// The queues hold the whole clip: with less, one track could wait for the other to be read.
		args = append(args, strings.Fields(fmt.Sprintf("queue name=track%d max-size-time=0 max-size-bytes=0 max-size-buffers=0 ! %s pt=%d ! rtp.send_rtp_sink_%d",
			n, tr.Encode, tr.PayloadType, n))...)
		sink := func(pad string, to, from int) {
			args = append(args, strings.Fields(fmt.Sprintf("rtp.%s_%d ! udpsink host=127.0.0.1 bind-address=127.0.0.1 port=%d", pad, n, to))...)
			if !e.cfg.Relayed {
				args = append(args, fmt.Sprintf("bind-port=%d", from))
			}
		}
		sink("send_rtp_src", to, from)
		sink("send_rtcp_src", to+1, from+1)
		args = append(args, "sync=false", "async=false")
	}
	if e.cfg.Audio != nil {
		args = append(args, "clip.audio_0", "!", "track0.")
	}
	if e.cfg.Video != nil {
		args = append(args, "clip.video_0", "!", "track1.")
	}
	session(0, e.cfg.Audio, e.AudioPort, audioTo)
	session(1, e.cfg.Video, e.VideoPort, videoTo)
	return args
}
