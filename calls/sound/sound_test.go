package sound

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"lineout/api/fault"
	"lineout/codecs/l16"
	"lineout/codecs/opus"
	"lineout/media"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const hz = 440

// made is a file of a second of a tone, made by ffmpeg.
func made(t testing.TB, dir, name string, args ...string) {
	t.Helper()
	all := append([]string{"-v", "error", "-y", "-f", "lavfi", "-i", "sine=frequency=440:duration=1:sample_rate=48000"}, args...)
	cmd := exec.Command("ffmpeg", append(all, filepath.Join(dir, name))...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("ffmpeg must be installed and make %s: %v %s", name, err, out)
	}
}

// all reads a file to its end and checks its frames.
func all(t *testing.T, f *File) (pcm []float64, packets [][]byte, length time.Duration) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		err := f.Play(t.Context(), func(x *media.Frame) {
			if x.PTS != length || time.Since(begin) != x.PTS || !x.Key || x.Track != f.Track || x.Params == nil || len(x.Data) != 1 {
				t.Fatalf("at %v after %v: %+v", length, time.Since(begin), x)
			}
			length += x.Duration
			packets = append(packets, x.Data[0])
			for b := x.Data[0]; f.Track.Codec == l16.Name && len(b) >= 2; b = b[2:] {
				pcm = append(pcm, float64(int16(binary.BigEndian.Uint16(b)))/32768)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	})
	return pcm, packets, length
}

// purity is the ratio of a tone to all else in dB.
func purity(pcm []float64, rate int) float64 {
	var re, im, sum float64
	for i, v := range pcm {
		s, c := math.Sincos(2 * math.Pi * hz * float64(i) / float64(rate))
		re, im, sum = re+v*c, im+v*s, sum+v*v
	}
	n := float64(len(pcm))
	a := 2 * math.Hypot(re, im) / n
	return 10 * math.Log10(a*a/2/math.Max(sum/n-a*a/2, 1e-12))
}

// TestFormats: files another program wrote are played whole, to the sample, at
// the pace of the clock.
func TestFormats(t *testing.T) {
	dir := t.TempDir()
	d := &Folder{Config: Config{Dir: dir}}
	for _, c := range []struct {
		name, args string
		rate       int
		db         float64
	}{
		{"pcm8.wav", "-c:a pcm_s16le -ar 8000 -ac 1", 8000, 55},
		{"pcm44.wav", "-c:a pcm_s16le -ar 44100 -ac 2", 44100, 60},
		{"pcm48.wav", "-c:a pcm_s16le -ar 48000 -ac 1", 48000, 60},
		{"alaw.wav", "-c:a pcm_alaw -ar 8000 -ac 1", 8000, 30},
		{"ulaw.wav", "-c:a pcm_mulaw -ar 16000 -ac 2", 16000, 30},
	} {
		made(t, dir, c.name, strings.Fields(c.args)...)
		f, err := d.Open(t.Context(), c.name)
		if err != nil {
			t.Fatal(err)
		}
		pcm, _, length := all(t, f)
		db := purity(pcm, c.rate)
		t.Logf("%s: %d samples, %.1f dB", c.name, len(pcm), db)
		if f.Track.Params().SampleRate != c.rate || len(pcm) != c.rate || length != time.Second || db < c.db {
			t.Errorf("%s: %d samples at %d Hz, %v, %.1f dB", c.name, len(pcm), f.Track.Params().SampleRate, length, db)
		}
	}
	made(t, dir, "a.opus", "-c:a", "libopus", "-b:a", "24k")
	f, err := d.Open(t.Context(), "a.opus")
	if err != nil {
		t.Fatal(err)
	}
	_, packets, length := all(t, f)
	if f.Track.Codec != opus.Name || len(packets) < 50 || length < time.Second || length > 1040*time.Millisecond {
		t.Errorf("Opus: %d packets, %v", len(packets), length)
	}
}

// TestChild: what is not read here is read by ffmpeg, as fast as it is played.
func TestChild(t *testing.T) {
	dir := t.TempDir()
	d := &Folder{Config: Config{Dir: dir}, FFmpeg: "ffmpeg"}
	made(t, dir, "a.mp3", "-b:a", "64k")
	made(t, dir, "a.m4a", "-c:a", "aac")
	made(t, dir, "24.wav", "-c:a", "pcm_s24le")
	for _, name := range []string{"a.mp3", "a.m4a", "24.wav"} {
		if _, err := (&Folder{Config: d.Config}).Open(t.Context(), name); fault.CodeOf(err) != fault.Internal || !strings.Contains(err.Error(), "WAVE") {
			t.Errorf("%s without ffmpeg: %v", name, err)
		}
		f, err := d.Open(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		var pcm []byte
		for p, err := f.first, error(nil); ; p, _, err = f.r.next() {
			if errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			pcm = append(pcm, p...)
		}
		if err := f.Close(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if n := len(pcm) / 2; n < 47900 || n > 51000 {
			t.Errorf("%s: %d samples", name, n)
		}
	}
	// One that is given up does not stay.
	f, err := d.Open(t.Context(), "a.mp3")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.Play(ctx, func(*media.Frame) {}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if c := f.r.(*child); c.cmd.ProcessState == nil {
		t.Error("ffmpeg was not reaped")
	}
	if err := os.WriteFile(filepath.Join(dir, "noise.mp3"), []byte("this is no sound at all, only words"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Open(t.Context(), "noise.mp3"); fault.CodeOf(err) != fault.Internal || !strings.Contains(err.Error(), "ffmpeg:") {
		t.Errorf("a file without sound: %v", err)
	}
}

// TestNames: nothing outside of the folder is opened, and nothing that is no file.
func TestNames(t *testing.T) {
	top := t.TempDir()
	dir := filepath.Join(top, "media")
	for _, p := range []string{dir, filepath.Join(dir, "en")} {
		if err := os.Mkdir(p, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	made(t, top, "secret.wav")
	made(t, dir, "en/a.wav")
	for link, to := range map[string]string{"out.wav": filepath.Join(top, "secret.wav"), "up.wav": "../secret.wav", "in.wav": "en/a.wav", "gone.wav": "none"} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	d := &Folder{Config: Config{Dir: dir}, FFmpeg: "ffmpeg"}
	for name, want := range map[string]fault.Code{"en/a.wav": 200, "in.wav": 200, "en/../en/a.wav": 200,
		"": fault.BadRequest, "../secret.wav": fault.BadRequest, filepath.Join(top, "secret.wav"): fault.BadRequest, "en/../../secret.wav": fault.BadRequest,
		"none.wav": fault.NotFound, "out.wav": fault.NotFound, "up.wav": fault.NotFound, "gone.wav": fault.NotFound, "en": fault.NotFound, "/dev/zero": fault.BadRequest, "a\x00b": fault.NotFound} {
		f, err := d.Open(t.Context(), name)
		if err == nil {
			f.Close()
			if want != 200 {
				t.Errorf("%q was opened", name)
			}
			continue
		}
		if fault.CodeOf(err) != want {
			t.Errorf("%q: %v", name, err)
		}
	}
	d.Dir = filepath.Join(top, "none")
	if _, err := d.Open(t.Context(), "a.wav"); fault.CodeOf(err) != fault.NotFound || !strings.Contains(err.Error(), "inject_sound_dir") {
		t.Error(err)
	}
}

// FuzzRead: no file can do harm.
func FuzzRead(f *testing.F) {
	dir := f.TempDir()
	made(f, dir, "a.wav", "-ar", "8000", "-t", "0.1")
	made(f, dir, "a.opus", "-t", "0.1")
	for _, name := range []string{"a.wav", "a.opus"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, open := range []func() (reader, error){
			func() (reader, error) { return newWAV(bytes.NewReader(b), io.NopCloser(nil)) },
			func() (reader, error) { return newOgg(bytes.NewReader(b), io.NopCloser(nil)) },
		} {
			r, err := open()
			for n := 0; err == nil; n++ {
				var p []byte
				var d time.Duration
				if p, d, err = r.next(); err == nil && (len(p) == 0 || d <= 0) || n > len(b) {
					t.Fatalf("%d bytes of %v after %d packets", len(p), d, n)
				}
			}
		}
	})
}
