package media

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
)

// clipsVersion is part of the cache folder's name: raise it when the clips change.
const clipsVersion = "v1"

// LongLoops is how often the long clips repeat the 30 s: 10 minutes in all, the longest call a soft phone can feed from them.
const LongLoops = 20

// The clips [Ensure] makes. The H.264 ones are what SIP devices send:
// constrained baseline, level 3.1, a key frame every 2 s, no B frames, about 300 kbit/s.
const (
	MP4      = "sync-h264-aac.mp4"  // H.264 + AAC 48 kHz
	PCMAMKV  = "sync-h264-pcma.mkv" // H.264 + PCMA
	OpusMKV  = "sync-h264-opus.mkv" // H.264 + Opus
	WebM     = "sync-vp8-opus.webm" // VP8 + Opus
	H264     = "sync.h264"          // Annex B
	PCMA     = "sync.alaw"          // 8 kHz, one byte per sample
	PCMU     = "sync.ulaw"
	G722     = "sync.g722"
	WAV8k    = "sync-8k.wav" // PCM 16 bit mono
	WAV16k   = "sync-16k.wav"
	WAV48k   = "sync-48k.wav"
	LongH264 = "long-h264.mkv" // video only, LongLoops times
	Long8k   = "long-8k.wav"
	Long16k  = "long-16k.wav"
	Long48k  = "long-48k.wav"

	// The wide clips are the first WideSeconds with a tone of TrebleHz added, which
	// only wide-band codecs keep (see [Treble]); PCM 48 kHz in Matroska.
	Wide     = "wide.mkv"      // raw material for encoders: H.264 without loss
	WideH264 = "wide-h264.mkv" // to be sent without encoding, as H264 above; parameter sets in the container only
	WideVP8  = "wide-vp8.mkv"  // likewise, as WebM above
)

// WideSeconds is the length of the wide clips.
const WideSeconds = 8

// Ensure returns the folder of the clips, making those that are missing. It is
// safe to call from several processes at once; the first one works, the others
// wait. Needs ffmpeg with libx264, libvpx and libopus.
func Ensure(ctx context.Context) (dir string, err error) {
	root, err := ModuleRoot()
	if err != nil {
		return "", err
	}
	dir = filepath.Join(root, ".cache", "media", clipsVersion)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make the folder of the test clips: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, ".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return "", fmt.Errorf("lock the folder of the test clips: %w", err)
	}
	defer lock.Close() // releases the lock
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", fmt.Errorf("lock the folder of the test clips: %w", err)
	}
	m := maker{ctx: ctx, dir: dir}
	m.makeAll()
	return dir, m.err
}

// ModuleRoot is the folder that holds go.mod, looked for from the working directory upwards.
func ModuleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the module: %w", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", fmt.Errorf("no go.mod above the working directory: run this inside the module")
		}
		dir = up
	}
}

// maker makes clips one after the other and keeps the first error.
type maker struct {
	ctx context.Context
	dir string
	err error
}

func (m *maker) makeAll() {
	path := func(name string) string { return filepath.Join(m.dir, name) }
	m.make(WAV48k, func(tmp string) error { return os.WriteFile(tmp, wav48k(Seconds, 0), 0o644) })
	m.make("wide-48k.wav", func(tmp string) error { return os.WriteFile(tmp, wav48k(WideSeconds, trebleLevel), 0o644) })
	m.make("master.mkv", m.master)
	for _, c := range []struct {
		name, from, args string
	}{
		{H264, "master.mkv", "-an -c:v libx264 -profile:v baseline -level 3.1 -preset medium -tune zerolatency -g 50 -keyint_min 25" +
			" -sc_threshold 0 -bf 0 -b:v 300k -maxrate 400k -bufsize 400k -threads 1 -f h264"},
		{"sync-video.mp4", H264, "-c copy -f mp4"},
		{WebM, "master.mkv", "-c:v libvpx -b:v 400k -g 50 -deadline realtime -cpu-used 4 -lag-in-frames 0 -auto-alt-ref 0 -threads 1" +
			" -c:a libopus -b:a 32k -f webm"},
		{WAV8k, WAV48k, "-ac 1 -ar 8000 -c:a pcm_s16le -f wav"},
		{WAV16k, WAV48k, "-ac 1 -ar 16000 -c:a pcm_s16le -f wav"},
		{PCMA, WAV48k, "-ac 1 -ar 8000 -f alaw"},
		{PCMU, WAV48k, "-ac 1 -ar 8000 -f mulaw"},
		{G722, WAV48k, "-ac 1 -ar 16000 -c:a g722 -f g722"},
	} {
		m.ffmpeg(c.name, nil, path(c.from), c.args)
	}
	sound := []string{"-i", path(WAV48k)}
	m.ffmpegWith(MP4, sound, path("sync-video.mp4"), "-map 0:v -map 1:a -c:v copy -c:a aac -b:a 64k -movflags +faststart -f mp4")
	m.ffmpegWith(PCMAMKV, sound, path("sync-video.mp4"), "-map 0:v -map 1:a -c:v copy -c:a pcm_alaw -ar 8000 -f matroska")
	m.ffmpegWith(OpusMKV, sound, path("sync-video.mp4"), "-map 0:v -map 1:a -c:v copy -c:a libopus -b:a 32k -f matroska")
	loop := []string{"-stream_loop", strconv.Itoa(LongLoops - 1)}
	m.ffmpeg(LongH264, loop, path("sync-video.mp4"), "-c copy -f matroska")
	for _, r := range []string{"8k", "16k", "48k"} {
		m.ffmpeg("long-"+r+".wav", loop, path("sync-"+r+".wav"), "-c copy -f wav")
	}
	wide := []string{"-i", path("wide-48k.wav")}
	for name, from := range map[string]string{Wide: "master.mkv", WideH264: "sync-video.mp4", WideVP8: WebM} {
		m.ffmpegWith(name, wide, path(from), fmt.Sprintf("-map 0:v -map 1:a -c copy -t %d -f matroska", WideSeconds))
	}
}

// make lets build write to a temporary name and gives it its own at the end, so a clip that exists is complete.
func (m *maker) make(name string, build func(tmp string) error) {
	if m.err != nil {
		return
	}
	path := filepath.Join(m.dir, name)
	if _, err := os.Stat(path); err == nil {
		return
	}
	tmp := path + ".part"
	if err := build(tmp); err != nil {
		m.err = fmt.Errorf("make the test clip %s: %w", name, err)
		return
	}
	if err := os.Rename(tmp, path); err != nil {
		m.err = fmt.Errorf("make the test clip %s: %w", name, err)
	}
}

func (m *maker) ffmpeg(name string, before []string, from, args string) {
	m.make(name, func(tmp string) error {
		return m.run(nil, append(append(before, "-i", from), append(fields(args), tmp)...))
	})
}

func (m *maker) ffmpegWith(name string, second []string, from, args string) {
	m.make(name, func(tmp string) error {
		return m.run(nil, append(append([]string{"-i", from}, second...), append(fields(args), tmp)...))
	})
}

// master draws the lossless original.
func (m *maker) master(tmp string) error {
	size := fmt.Sprintf("%dx%d", Width, Height)
	pictures := func(w *os.File) error {
		buf := make([]byte, Width*Height*3/2)
		for n := range Frames {
			drawFrame(buf, n)
			if _, err := w.Write(buf); err != nil {
				return err
			}
		}
		return nil
	}
	return m.run(pictures, append(fields("-f rawvideo -pix_fmt yuv420p -s "+size+" -r 25 -i pipe:0 -i"), filepath.Join(m.dir, WAV48k),
		"-c:v", "libx264", "-preset", "ultrafast", "-qp", "0", "-c:a", "flac", "-f", "matroska", tmp))
}

// run calls ffmpeg; feed, if set, writes its standard input.
func (m *maker) run(feed func(*os.File) error, args []string) error {
	c := exec.CommandContext(m.ctx, "ffmpeg", append(fields("-hide_banner -loglevel error -nostdin -y -fflags +bitexact"), args...)...)
	var stderr bytes.Buffer
	c.Stderr = &stderr
	if feed != nil {
		r, w, err := os.Pipe()
		if err != nil {
			return err
		}
		c.Stdin = r
		fed := make(chan error, 1)
		go func() { defer w.Close(); fed <- feed(w) }()
		err = c.Run()
		r.Close() // ends the writer when ffmpeg gave up early
		if werr := <-fed; err == nil && werr != nil {
			return fmt.Errorf("write pictures to ffmpeg: %w", werr)
		}
		return ffmpegError(err, stderr.String())
	}
	return ffmpegError(c.Run(), stderr.String())
}

func ffmpegError(err error, stderr string) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("ffmpeg: %w: %s (tools/install-test-deps.sh installs it)", err, lastLine(stderr))
}

// wav48k is the sound of a clip as a WAV file, PCM 16 bit mono at 48 kHz, with a tone of TrebleHz at that level (1 is full scale).
func wav48k(seconds int, treble float64) []byte {
	const rate = 48000
	size := seconds * rate * 2
	data := make([]byte, 0, 44+size)
	le := binary.LittleEndian
	data = append(data, "RIFF"...)
	data = le.AppendUint32(data, 36+uint32(size))
	data = append(data, "WAVEfmt "...)
	data = le.AppendUint32(data, 16)
	data = le.AppendUint16(data, 1) // PCM
	data = le.AppendUint16(data, 1) // mono
	data = le.AppendUint32(data, rate)
	data = le.AppendUint32(data, rate*2)
	data = le.AppendUint16(data, 2)
	data = le.AppendUint16(data, 16)
	data = append(data, "data"...)
	data = le.AppendUint32(data, uint32(size))
	for i := range seconds * rate {
		t := float64(i) / rate
		v := 0.05*math.Sin(2*math.Pi*pilotHz*t) + treble*math.Sin(2*math.Pi*TrebleHz*t)
		if i%rate < rate/10 {
			v += 0.45 * math.Sin(2*math.Pi*float64(beepHz(i/rate))*t)
		}
		data = le.AppendUint16(data, uint16(int16(math.Round(v*32767))))
	}
	return data
}

const (
	pilotHz    = 412.5
	beepLow    = 1000
	beepMarker = 1500 // at seconds that are a multiple of five

	// TrebleHz is the tone of the wide clips that narrow-band codecs cannot carry.
	TrebleHz    = 6000
	trebleLevel = 0.05
)

// beepHz is the pitch of the beep at second s of a clip.
func beepHz(s int) int {
	if s%5 == 0 {
		return beepMarker
	}
	return beepLow
}
