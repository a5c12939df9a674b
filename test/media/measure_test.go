package media

import (
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestBars: every frame number survives drawing, scaling to the analysis size and reading.
func TestBars(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 65535).Draw(t, "n")
		i420 := make([]byte, Width*Height*3/2)
		drawFrame(i420, n)
		small := make([]byte, lookW*lookH)
		const k = Width / lookW
		for y := range lookH {
			for x := range lookW {
				sum := 0
				for dy := range k {
					for dx := range k {
						sum += int(i420[(y*k+dy)*Width+x*k+dx])
					}
				}
				small[y*lookW+x] = byte(sum / k / k)
			}
		}
		got, flash := readFrame(small)
		if got != n || flash != (n%FPS < flashFrames) {
			t.Fatalf("frame %d reads as %d, flash %v", n, got, flash)
		}
		small[84*lookW+8*10+4] ^= 0xff // a speck in one cell changes nothing
		if got, _ := readFrame(small); got != n {
			t.Fatalf("frame %d with a speck reads as %d", n, got)
		}
		for y := range 10 { // one cell turned over is noticed by the parity
			for x := range 8 {
				p := &small[(80+y)*lookW+8*7+x]
				*p = 255 - *p
			}
		}
		if got, _ := readFrame(small); got != -1 {
			t.Fatalf("frame %d with a wrong cell reads as %d", n, got)
		}
	})
}

// TestMeasure proves the measurement on files with known faults.
func TestMeasure(t *testing.T) {
	t.Parallel()
	clips, err := Ensure(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	mp4 := filepath.Join(clips, MP4)
	late := func(seconds string) []string {
		return fields("-i " + mp4 + " -itsoffset " + seconds + " -i " + mp4 + " -map 0:v -map 1:a -c copy -avoid_negative_ts make_zero")
	}
	from := func(args string) []string { return append([]string{"-i", mp4}, fields(args)...) }
	near := func(got, want, within float64) bool { return math.Abs(got-want) <= within }
	offset := func(ms float64) func(r *Report) bool {
		return func(r *Report) bool {
			return r.Sync != nil && near(r.Sync.MedianMillis, ms, 3) && near(r.Sync.MinMillis, ms, 6) && near(r.Sync.MaxMillis, ms, 6)
		}
	}
	good := func(r *Report) bool {
		v, a := r.Video, r.Audio
		return v.Frames == Frames && v.Numbered == Frames && v.Lost+v.Repeated+v.Backward+v.Restarts == 0 && v.MaxGapMillis <= 41 && near(v.Speed, 1, 0.001) &&
			a.Beeps == Seconds && a.Gaps+a.Holes+a.Jumps == 0 && a.SNRDB > 20 && near(a.LevelDB, -6.9, 0.5) && near(a.PilotDB, -26, 0.5) &&
			r.Sync.Pairs == Seconds && near(r.Sync.MedianMillis, 0, 8) && near(r.Sync.DriftPerMinute, 0, 2) && r.DecodeErrors == 0
	}
	for _, c := range []struct {
		name, file string
		args       []string // of ffmpeg, to make the file; nil: the file is a clip
		ok         func(*Report) bool
	}{
		{"AAC", MP4, nil, good},
		{"PCMA", PCMAMKV, nil, good},
		{"Opus", OpusMKV, nil, good}, // muxed by ffmpeg with 7 ms of pre-skip
		{"VP8", WebM, nil, good},
		{"late 200 ms", "a.mp4", late("0.2"), offset(200)},
		{"late 200 ms FLV", "a.flv", late("0.2"), offset(200)},
		{"late 200 ms TS", "a.ts", late("0.2"), offset(200)},
		{"early 120 ms", "a.mp4", late("-0.12"), offset(-120)},
		{"late 1700 ms", "a.mkv", late("1.7"), offset(1700)},
		{"early 900 ms", "a.mkv", late("-0.9"), offset(-900)},
		{"drift", "a.mp4", from("-c:v copy -af atempo=0.995 -c:a aac"), func(r *Report) bool { return near(r.Sync.DriftPerMinute, 302, 20) }},
		{"10 frames lost", "a.mp4", from("-vf select='not(between(n,100,109))' -vsync passthrough -c:v libx264 -preset ultrafast -c:a copy"),
			func(r *Report) bool { return r.Video.Lost == 10 && near(r.Video.MaxGapMillis, 440, 1) }},
		{"every second frame twice", "a.mp4", from("-vf select='mod(n,2)',fps=25 -c:v libx264 -preset ultrafast -c:a copy"),
			func(r *Report) bool { return r.Video.Repeated > 360 && r.Video.Lost > 360 }},
		{"300 ms of silence", "a.mp4", from("-c:v copy -af volume=0:enable='between(t,5.2,5.5)' -c:a aac"),
			func(r *Report) bool { return r.Audio.Gaps == 1 && near(r.Audio.MaxGapMillis, 300, 40) }},
		{"60 ms cut out", "a.mp4", from("-c:v copy -af aselect='not(between(t,5.3,5.36))',asetpts=N/SR/TB -c:a aac"),
			func(r *Report) bool { return r.Audio.Jumps >= 1 && r.Audio.Gaps == 0 }},
		{"hole of 400 ms in the timestamps", "a.mkv", from("-c:v copy -af aselect='not(between(t,5.3,5.7))' -c:a pcm_s16le"),
			func(r *Report) bool { return r.Audio.Holes >= 1 && r.Audio.MaxHoleMillis > 300 }},
		{"no sound", "a.mp4", from("-c:v copy -an"), func(r *Report) bool { return r.Audio == nil && r.Sync == nil && r.Video.Frames == Frames }},
		{"silence", "a.mp4", from("-c:v copy -af volume=0 -c:a aac"), func(r *Report) bool { return r.Audio.Beeps == 0 && r.Sync == nil && math.IsInf(r.Audio.PilotDB, -1) }},
		{"black picture", "a.mp4", append(fields("-f lavfi -i color=black:s=640x360:r=25:d=30"), from("-map 0:v -map 1:a -c:v libx264 -preset ultrafast -c:a copy")...),
			func(r *Report) bool { return r.Video.Numbered == 0 && r.Video.Flashes == 0 && r.Sync == nil }},
		{"noise", "a.mkv", from("-filter_complex [0:a]volume=0.3[a];anoisesrc=a=0.3:d=30:seed=1[n];[a][n]amix=normalize=0[o] -map 0:v -map [o] -c:v copy -c:a flac"),
			func(r *Report) bool { return r.Audio.SNRDB < 15 }},
		{"twice, smaller", "a.mp4", append([]string{"-stream_loop", "1"}, from("-vf scale=320:180 -c:v libx264 -preset ultrafast -crf 30 -c:a aac")...),
			func(r *Report) bool {
				return r.Video.Restarts == 1 && r.Video.Lost == 0 && r.Video.Size == "320x180" && near(r.Sync.MedianMillis, 0, 40)
			}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(clips, c.file)
			if c.args != nil {
				file = filepath.Join(t.TempDir(), c.file)
				ffmpeg(t, append(c.args, file)...)
			}
			r, err := Measure(t.Context(), file, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if !c.ok(r) {
				t.Errorf("measured %v", r)
			}
		})
	}
}

// TestMeasureBroken: what cannot be read is an error, what is torn is measured as far as it goes.
func TestMeasureBroken(t *testing.T) {
	t.Parallel()
	clips, err := Ensure(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(filepath.Join(clips, MP4))
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, b []byte) string {
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, b, 0o644); err != nil {
			t.Fatal(err)
		}
		return file
	}
	for name, file := range map[string]string{
		"empty":            write("empty.mp4", nil),
		"without its head": write("tail.mp4", whole[len(whole)/2:]),
		"missing":          filepath.Join(t.TempDir(), "missing.mp4"),
	} {
		if r, err := Measure(t.Context(), file, Options{}); err == nil {
			t.Errorf("%s file: %v", name, r)
		}
	}
	r, err := Measure(t.Context(), write("torn.mp4", whole[:len(whole)*2/3]), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if r.Video.Frames < 300 || r.Video.Frames > 700 || r.DecodeErrors == 0 || r.Sync == nil {
		t.Errorf("torn file: %v", r)
	}
}

func ffmpeg(t *testing.T, args ...string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "ffmpeg", append(fields("-hide_banner -loglevel error -nostdin -y"), args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("ffmpeg %q: %v\n%s", args, err, out)
	}
}
