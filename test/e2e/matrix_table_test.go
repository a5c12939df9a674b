//go:build e2e

package e2e

import (
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"lineout/test/media"
	"lineout/test/peers"
)

// outputs in the order of the table.
var outputs = []string{"WebRTC", "RTMP", "HLS", "file"}

// matrixTable gathers calls while they run, then what was measured of them.
type matrixTable struct {
	mu    sync.Mutex
	calls map[string]*taken
	rows  map[string]*matrixRow
}

// matrixRow is one output of one call.
type matrixRow struct {
	codecs           string
	audioMS, videoMS float64 // longer than what was sent; NaN: not known what was sent
	frames, sent     int
	pilot            float64 // Hz
	snr, treble      float64 // dB, dBFS
	offset, lo, hi   float64 // of sound against picture beyond the sender's own, ms
	errors, dropped  int
}

func (m *matrixTable) add(c matrixCall, got *taken) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.calls == nil {
		m.calls, m.rows = map[string]*taken{}, map[string]*matrixRow{}
	}
	m.calls[c.name()] = got
}

// judge measures the outputs of a call.
func (m *matrixTable) judge(t *testing.T, c matrixCall) {
	m.mu.Lock()
	got := m.calls[c.name()]
	m.mu.Unlock()
	if got == nil {
		t.Fatal("there was no call")
	}
	note(t, "sent: sound %+v, picture %+v", got.audio, got.video)
	for _, o := range outputs {
		row := got.row(t, got.files[o])
		row.dropped = got.dropped[o]
		m.mu.Lock()
		m.rows[c.name()+o] = row
		m.mu.Unlock()
		for _, fault := range c.faults(o, row, got) {
			t.Errorf("%s: %s", o, fault)
		}
	}
	if p := got.played; p.Lost > 0 || p.Holes > 0 && got.dropped["WebRTC"] == 0 {
		t.Errorf("WebRTC: %d packets lost (%s), %d holes in the sound", p.Lost, p.Missing, p.Holes)
	}
}

// row measures one output.
func (got *taken) row(t *testing.T, file string) *matrixRow {
	t.Helper()
	nan := math.NaN()
	r := measure(t, file, media.Options{})
	row := &matrixRow{errors: r.DecodeErrors, sent: got.video.Frames, videoMS: nan, offset: nan, lo: nan, hi: nan}
	if r.Audio == nil {
		t.Fatalf("no sound in %s: %v", file, r)
	}
	const packet = 0.02
	row.codecs = r.Audio.Codec
	row.audioMS = 1000 * (r.Audio.End - r.Audio.Start - got.audio.Seconds - packet)
	row.pilot, row.snr = r.Audio.PilotHz, r.Audio.SNRDB
	if r.Video != nil {
		row.codecs, row.frames = r.Video.Codec+"+"+row.codecs, r.Video.Frames
		if got.exact {
			row.videoMS = 1000 * (r.Video.End - r.Video.Start - got.video.Seconds)
		}
	}
	if s := r.Sync; s != nil {
		own := 0.0 // of the sender, by its reports
		if got.exact {
			own = 1000 * (got.audio.Start - got.video.Start)
		}
		row.offset, row.lo, row.hi = s.MedianMillis-own, s.MinMillis-own, s.MaxMillis-own
	}
	var err error
	if row.treble, err = media.Treble(t.Context(), file); err != nil {
		t.Error(err)
	}
	return row
}

// print writes the table to the log and to a file.
func (m *matrixTable) print(t *testing.T, calls []matrixCall) {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "%-28s %-7s %-16s %8s %8s %9s %7s %6s %7s %7s %13s %s %s\n",
		"call", "output", "codecs", "sound±", "picture±", "frames", "pilot", "SNR", "6 kHz", "offset", "from…to", "errors", "dropped")
	for _, c := range calls {
		for _, o := range outputs {
			r := m.rows[c.name()+o]
			if r == nil {
				continue
			}
			fmt.Fprintf(&b, "%-28s %-7s %-16s %5.0f ms %5.0f ms %4d/%-4d %7.2f %6.1f %7.1f %7.1f %6.1f…%-6.1f %6d %7d\n",
				c.name(), o, r.codecs, r.audioMS, r.videoMS, r.frames, r.sent, r.pilot, r.snr, r.treble, r.offset, r.lo, r.hi, r.errors, r.dropped)
		}
	}
	note(t, "\n%s", &b)
	if err := os.WriteFile(filepath.Join(peers.Artefacts(t), "matrix.txt"), []byte(b.String()), 0o644); err != nil {
		t.Error(err)
	}
}

// sounds is what may be asked of each codec's sound: the ratio of a beep to what
// else is heard, and the level of the tone of 6 kHz, 0 where the codec has but a
// telephone's band; both as the codec itself leaves them, with some dB of margin.
var sounds = map[string]struct {
	name        string // ffprobe's, of what browsers get
	snr, treble float64
}{
	peers.PCMA:       {"pcm_alaw", 28, 0},
	peers.PCMU:       {"pcm_mulaw", 28, 0},
	peers.G722:       {"adpcm_g722", 33, -28},
	peers.Opus:       {"opus", 16, -28},
	peers.OpusStereo: {"opus", 28, -31},
	peers.G729:       {"opus", 8, 0},  // nor G.729
	peers.Speex8:     {"opus", 17, 0}, // no browser takes Speex
	peers.Speex16:    {"opus", 22, -36},
}

const (
	opusSNR  = 17  // what is left of any sound after the server's own Opus encoder
	maxError = 100 // of durations, ms
	pilotHz  = 412.5
)

// wants are the codecs of an output.
func (c matrixCall) wants(output string) string {
	sound := "aac"
	webm := output == "file" && strings.HasPrefix(c.video, peers.VP8)
	switch {
	case output == "WebRTC":
		sound = sounds[c.audio].name
	case webm:
		sound = "opus"
	}
	switch {
	case c.video == peers.None:
		return sound
	case strings.HasPrefix(c.video, peers.VP8) && (webm || output == "WebRTC"):
		return "vp8+" + sound
	}
	return "h264+" + sound
}

// faults are what is wrong with an output.
func (c matrixCall) faults(output string, r *matrixRow, got *taken) (out []string) {
	fault := func(bad bool, format string, args ...any) {
		if bad {
			out = append(out, fmt.Sprintf(format, args...))
		}
	}
	sound := sounds[c.audio]
	snr := sound.snr
	if strings.HasSuffix(r.codecs, "opus") && sound.name != "opus" {
		snr = min(snr, opusSNR)
	}
	fault(r.codecs != c.wants(output), "codecs are %s, want %s", r.codecs, c.wants(output))
	fault(r.errors > 0, "%d errors of the decoder", r.errors)
	fault(math.Abs(r.pilot/pilotHz-1) > 0.01, "tone of %v Hz, sent with %v", r.pilot, pilotHz)
	fault(r.snr < snr, "%v dB of signal to noise, want %v", r.snr, snr)
	fault(math.Abs(r.offset) > maxOffset, "sound is off the picture by %.1f ms, want at most %d", r.offset, maxOffset)
	if !got.exact { // the phone talks while outputs join, and when they end
		fault(output != "WebRTC" && (r.audioMS < -maxError || r.frames < r.sent) && r.dropped == 0, "%d frames of %d, sound longer by %.0f ms", r.frames, r.sent, r.audioMS)
		return out
	}
	// What the server had no time for it says; then it is no part of this what is missing, but what is there.
	fault(r.frames > r.sent || r.frames != r.sent && r.dropped == 0, "%d frames of %d", r.frames, r.sent)
	fault(math.Abs(r.audioMS) > maxError && r.dropped == 0, "sound is longer by %.0f ms", r.audioMS)
	fault(math.Abs(r.videoMS) > maxError && r.dropped == 0, "picture is longer by %.0f ms", r.videoMS)
	fault(sound.treble < 0 && r.treble < sound.treble, "the tone of 6 kHz is at %v dBFS, sent with -26", r.treble)
	fault(sound.treble == 0 && r.treble > -50, "a tone of 6 kHz out of a telephone's band at %v dBFS", r.treble)
	return out
}

// fetchHLS copies all of a playlist that has ended.
func fetchHLS(t *testing.T, url, file string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "ffmpeg", "-hide_banner", "-nostdin", "-loglevel", "error", "-y",
		"-live_start_index", "0", "-i", url, "-map", "0", "-c", "copy", file).CombinedOutput()
	if err != nil {
		t.Errorf("fetch %s: %v: %s", url, err, out)
	}
	return file
}
