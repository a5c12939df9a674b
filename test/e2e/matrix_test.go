//go:build e2e

package e2e

import (
	"encoding/json"
	"math"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lineout/test/media"
	"lineout/test/peers"
)

// Baresip is the sender of matrix calls that a soft phone makes, not an encoder and an answering party.
const baresip = "baresip"

// matrixCall is one call of the matrix: who sends what.
type matrixCall struct{ sender, audio, video string }

func (c matrixCall) name() string {
	return strings.ReplaceAll(c.sender+"-"+c.audio+"-"+c.video, "/", ".")
}

// matrix has every audio codec with every kind of picture; each sender makes several of each.
var matrix = []matrixCall{
	{peers.FFmpeg, peers.PCMA, peers.None},
	{peers.GStreamer, peers.PCMA, peers.H264},
	{peers.FFmpeg, peers.PCMA, peers.VP8},
	{peers.GStreamer, peers.PCMU, peers.None},
	{peers.FFmpeg, peers.PCMU, peers.H264},
	{peers.GStreamer, peers.PCMU, peers.VP8},
	{peers.FFmpeg, peers.G729, peers.None},
	{peers.FFmpeg, peers.G729, peers.H264},
	{peers.FFmpeg, peers.G729, peers.VP8},
	{peers.GStreamer, peers.G722, peers.None},
	{peers.FFmpeg, peers.G722, peers.H264},
	{peers.GStreamer, peers.G722, peers.VP8},
	{peers.FFmpeg, peers.Opus, peers.None},
	{peers.GStreamer, peers.Opus, peers.H264},
	{peers.FFmpeg, peers.Opus, peers.VP8Copy},
	{peers.GStreamer, peers.OpusStereo, peers.None},
	{peers.FFmpeg, peers.OpusStereo, peers.H264Copy},
	{peers.GStreamer, peers.OpusStereo, peers.VP8},
	{peers.FFmpeg, peers.Speex8, peers.None},
	{peers.GStreamer, peers.Speex8, peers.H264},
	{peers.FFmpeg, peers.Speex8, peers.VP8},
	{peers.GStreamer, peers.Speex16, peers.None},
	{peers.FFmpeg, peers.Speex16, peers.H264},
	{peers.GStreamer, peers.Speex16, peers.VP8},

	{baresip, peers.G722, peers.None},
	{baresip, peers.PCMU, peers.H264M},
	{baresip, peers.Opus, peers.VP8},
}

// variants are ways of sending the same picture.
var variants = []matrixCall{
	{peers.GStreamer, peers.PCMA, peers.H264Single},
	{peers.GStreamer, peers.Opus, peers.H264Gather},
	{peers.FFmpeg, peers.PCMU, peers.H264Main},
	{peers.FFmpeg, peers.PCMA, peers.H264High},
	{peers.FFmpeg, peers.PCMU, peers.VP8Layers},
}

// TestPictureVariants is [TestMatrix] for ways of packing and coding pictures.
func TestPictureVariants(t *testing.T) { runMatrix(t, variants) }

// TestMatrix is every audio codec with H.264, with VP8 and without picture, from
// real encoders to every output at once, judged by what a decoder makes of it. The
// table of what was measured is printed and kept in .cache/artefacts/TestMatrix.
func TestMatrix(t *testing.T) { runMatrix(t, matrix) }

func runMatrix(t *testing.T, calls []matrixCall) {
	srv := peers.StartLineout(t, map[string]string{
		"hls_auto_start":    "true",
		"sip_record_stream": "true", "stream_record_policy_template": "{streamName}",
		// This is about what comes out, not how soon: on a busy machine converted pictures may come late.
		"rtmp_push_queue": "20s", "hls_queue": "20s",
	})
	rtmp := peers.StartRTMPServer(t)
	dir := t.TempDir()
	var table matrixTable
	slots := make(chan struct{}, 4)     // calls at a time: all of them encode
	converted := make(chan struct{}, 2) // those of them whose pictures the server encodes once more
	t.Run("calls", func(t *testing.T) {
		for _, c := range calls {
			t.Run(c.name(), func(t *testing.T) {
				t.Parallel()
				if c.converted() {
					converted <- struct{}{}
					defer func() { <-converted }()
				}
				slots <- struct{}{}
				defer func() { <-slots }()
				table.add(c, c.run(t, srv, rtmp, dir))
			})
		}
	})
	t.Run("judge", func(t *testing.T) {
		for _, c := range calls {
			t.Run(c.name(), func(t *testing.T) {
				t.Parallel()
				table.judge(t, c)
			})
		}
	})
	table.print(t, calls)
}

// converted says that the server encodes the pictures anew for some outputs.
func (c matrixCall) converted() bool { return strings.HasPrefix(c.video, peers.VP8) }

// delivered waits until all pictures were converted, if they are, and nothing is
// queued any more, and notes what the server says it left out: on a machine that
// is too busy for a live output it does.
func (out *taken) delivered(t *testing.T, srv *peers.Lineout, stream string, converted bool) {
	t.Helper()
	type node struct {
		Name, Label                  string
		Frames, Dropped, QueueFrames int
	}
	var g struct{ Converters, Sinks []node }
	peers.Eventually(t, "the end of what is converted and queued", 60*time.Second, func() bool {
		_, text := srv.Get(t, "/debug/graph/"+stream)
		if err := json.Unmarshal([]byte(text), &g); err != nil {
			t.Fatalf("graph of %s: %v: %s", stream, err, text)
		}
		waits, missing := 0, converted
		for _, n := range g.Converters {
			if n.Name == "VP8→H264" {
				missing = n.Frames+n.Dropped < out.video.Frames
			}
			waits += n.QueueFrames
		}
		for _, n := range g.Sinks {
			waits += n.QueueFrames
		}
		return !missing && (waits == 0 || !out.exact) // a phone goes on talking
	})
	out.dropped = map[string]int{}
	for _, n := range g.Sinks {
		for prefix, output := range map[string]string{"webrtc": "WebRTC", "rtmp": "RTMP", "hls": "HLS"} {
			if strings.HasPrefix(n.Label, prefix) {
				out.dropped[output] += n.Dropped
			}
		}
	}
	note(t, "passed on: %+v", g)
}

// taken is what one call gave: what was sent, and a file of each output.
type taken struct {
	audio, video peers.Sent
	exact        bool           // sent is known to the packet, and all outputs were there from the first one
	dropped      map[string]int // output → frames the server says it has left out of it
	played       *peers.Played
	files        map[string]string // output → file
}

// run makes the call and gathers what comes out of it.
func (c matrixCall) run(t *testing.T, srv *peers.Lineout, rtmp *peers.RTMPServer, dir string) *taken {
	id, out := c.name(), &taken{files: map[string]string{}}
	send := c.dial(t, srv, id)
	srv.Must(t, "/rest-api/push/startup", map[string]any{"streamName": id, "rtmpUrl": rtmp.URL("live")}, nil)
	player := peers.StartPlayer(t, srv.URL("/whep/"+id))
	send(out)
	out.received(t, srv, id)
	out.delivered(t, srv, id, c.converted())
	srv.Must(t, "/rest-api/call/terminate", map[string]string{"callId": id}, nil)
	srv.WaitGone(t, id)

	out.played = player.Save(t, filepath.Join(dir, id+"-webrtc.mkv"))
	out.files["WebRTC"] = out.played.File
	out.files["HLS"] = fetchHLS(t, srv.HLSURL(id), filepath.Join(dir, id+"-hls.mkv"))
	peers.Eventually(t, "the end of the push", 10*time.Second, func() bool { return !rtmp.Publishing(t, "rtmp_"+id) })
	out.files["RTMP"] = one(t, "recordings of the RTMP server", rtmp.Recordings(t, "rtmp_"+id))
	peers.Eventually(t, "the finished recording", 10*time.Second, func() bool {
		files := append(srv.Recordings(t, id+".mp4"), srv.Recordings(t, id+".webm")...)
		if len(files) == 1 {
			out.files["file"] = files[0]
		}
		return len(files) == 1
	})
	return out
}

// dial makes the call up to its answer. What it returns sends the clip and notes
// what was sent; a soft phone has begun by itself.
func (c matrixCall) dial(t *testing.T, srv *peers.Lineout, id string) (send func(*taken)) {
	t.Helper()
	if c.sender == baresip {
		p := peers.StartSoftphone(t, peers.SoftphoneConfig{Audio: c.audio, Video: c.video})
		srv.Must(t, "/rest-api/call/startup", direct(id, id, p), nil)
		srv.WaitCall(t, id, "ESTABLISHED")
		return func(*taken) {}
	}
	e := peers.NewEncoder(t, peers.EncoderConfig{Program: c.sender, Relayed: true,
		Audio: peers.Encode(t, c.sender, c.audio), Video: peers.Encode(t, c.sender, c.video)})
	a := peers.StartAnswerer(t, e.SDP(true))
	srv.Must(t, "/rest-api/call/startup", direct(id, id, &peers.Softphone{User: a.User, Port: a.Port}), nil)
	srv.WaitCall(t, id, "ESTABLISHED")
	to := srv.CallStats(t, id)
	tap := peers.StartTap(t, e, to.Track("audio").Port(), to.Track("video").Port())
	return func(out *taken) {
		e.Start(t, tap.AudioPort, tap.VideoPort)
		e.Yield() // the tap makes up for it, nothing makes up for a server without time
		tap.Wait(t, e)
		out.audio, out.video, out.exact = tap.Audio(), tap.Video(), true
	}
}

// received waits until the server has all that was sent and checks that none of
// it is missing; of a soft phone's call, it takes what has come as what was sent.
func (out *taken) received(t *testing.T, srv *peers.Lineout, id string) {
	t.Helper()
	var s *peers.CallStats
	peers.Eventually(t, "the end of what is sent", 30*time.Second, func() bool {
		s = srv.CallStats(t, id)
		if out.exact {
			return s.Track("audio").Packets >= out.audio.Packets
		}
		return s.Track("audio").Packets >= media.WideSeconds*50
	})
	note(t, "received: %+v", s)
	for _, tr := range s.Tracks {
		if tr.Lost+tr.Rejected+tr.Gaps+tr.Damaged+tr.Dropped+s.QueueDropped > 0 {
			t.Errorf("not all arrived: %+v", tr)
		}
	}
	a, v := s.Track("audio"), s.Track("video")
	if out.exact {
		// The stream begins where there are both, so some packets of sound from before the first picture may be left out.
		if a.Frames < out.audio.Frames-maxError/20 || v != nil && v.Frames != out.video.Frames {
			t.Errorf("%d and %d frames sent, received %+v", out.audio.Frames, out.video.Frames, s.Tracks)
		}
		return
	}
	out.audio = peers.Sent{Frames: a.Frames, Seconds: float64(a.Frames-1) / 50, Start: math.NaN()}
	if v != nil {
		out.video = peers.Sent{Frames: v.Frames, Start: math.NaN()}
	}
}
