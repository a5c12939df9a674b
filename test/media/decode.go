package media

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Options say how to read an input.
type Options struct {
	// Live copies so much of the input first and measures the copy: for URLs that
	// have no end. Zero reads the input itself, to its end.
	Live time.Duration
	// Input are further options of ffmpeg before -i.
	Input []string
}

// Measure decodes the file or URL with ffmpeg and reports what a viewer gets.
// An input without a decodable track is an error.
func Measure(ctx context.Context, input string, o Options) (*Report, error) {
	if o.Live > 0 {
		f, err := os.CreateTemp("", "measure-*.mkv")
		if err != nil {
			return nil, fmt.Errorf("copy %s: %w", input, err)
		}
		f.Close()
		defer os.Remove(f.Name())
		args := append(fields("-hide_banner -nostdin -loglevel error -y"), o.Input...)
		args = append(args, "-i", input, "-t", strconv.FormatFloat(o.Live.Seconds(), 'f', 3, 64), "-map", "0", "-c", "copy", f.Name())
		out, err := exec.CommandContext(ctx, "ffmpeg", args...).CombinedOutput()
		if err != nil {
			return nil, fmt.Errorf("copy %s: %w: %s", input, err, lastLine(string(out)))
		}
		input, o.Input = f.Name(), nil
	}
	p, err := Probe(ctx, input, o.Input...)
	if err != nil {
		return nil, err
	}
	r := &Report{Format: p.Format.Name, Duration: p.Duration()}
	v, a := p.Stream("video"), p.Stream("audio")
	d, err := decode(ctx, input, o.Input, v != nil, a != nil)
	if err != nil {
		return nil, err
	}
	r.DecodeErrors = len(d.errs)
	r.FirstErrors = d.errs[:min(3, len(d.errs))]
	var flashes []flash
	if v != nil {
		r.Video = &Video{Codec: v.Codec, Profile: v.Profile, Size: fmt.Sprintf("%dx%d", v.Width, v.Height)}
		flashes = r.Video.fill(d.frames)
	}
	if a != nil {
		rate, _ := strconv.Atoi(a.SampleRate)
		r.Audio = &Audio{Codec: a.Codec, Rate: rate, Channels: a.Channels}
		beeps := r.Audio.fill(d.samples, d.chunks)
		r.Sync = compare(flashes, beeps)
	}
	return r, nil
}

// ProbeResult is the part of ffprobe's answer that tests look at.
type ProbeResult struct {
	Streams []ProbeStream `json:"streams"`
	Format  struct {
		Name     string `json:"format_name"`
		Duration string `json:"duration"`
	} `json:"format"`
}

// ProbeStream is one track of a [ProbeResult].
type ProbeStream struct {
	Type       string `json:"codec_type"`
	Codec      string `json:"codec_name"`
	Profile    string `json:"profile"`
	Width      int    `json:"width"`
	Height     int    `json:"height"`
	SampleRate string `json:"sample_rate"`
	Channels   int    `json:"channels"`
}

// Duration is the container's own statement in seconds, 0 if it makes none.
func (p *ProbeResult) Duration() float64 {
	d, _ := strconv.ParseFloat(p.Format.Duration, 64)
	return d
}

// Stream is the first track of a type ("video", "audio"), nil if there is none.
func (p *ProbeResult) Stream(kind string) *ProbeStream {
	for i := range p.Streams {
		if p.Streams[i].Type == kind {
			return &p.Streams[i]
		}
	}
	return nil
}

// Probe runs ffprobe on a file or URL. An input without tracks is an error.
func Probe(ctx context.Context, input string, options ...string) (*ProbeResult, error) {
	c := exec.CommandContext(ctx, "ffprobe", append(append(fields("-v error"), options...), "-show_streams", "-show_format", "-of", "json", input)...)
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	err := c.Run()
	var p ProbeResult
	if jerr := json.Unmarshal(stdout.Bytes(), &p); err == nil {
		err = jerr
	}
	if err != nil {
		return nil, fmt.Errorf("ffprobe %s: %w: %s", input, err, lastLine(stderr.String()))
	}
	if len(p.Streams) == 0 {
		return nil, fmt.Errorf("ffprobe %s: no tracks: %s", input, lastLine(stderr.String()))
	}
	return &p, nil
}

type frame struct {
	at     float64 // seconds; NaN: the input gave none
	number int     // -1: unreadable
	flash  bool
}

// chunk is a run of samples with one timestamp.
type chunk struct {
	at float64
	n  int
}

type decoded struct {
	frames  []frame
	samples []int16
	chunks  []chunk
	errs    []string
}

// decode reads both tracks in one run of ffmpeg, so that their clocks are comparable.
func decode(ctx context.Context, input string, options []string, video, audio bool) (*decoded, error) {
	args := append(fields("-hide_banner -nostdin -loglevel repeat+level+info -copyts"), options...)
	args = append(args, "-i", input)
	c := exec.CommandContext(ctx, "ffmpeg")
	var d decoded
	var wg sync.WaitGroup
	var files []*os.File
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	output := func(args []string, read func(io.Reader)) error {
		r, w, err := os.Pipe()
		if err != nil {
			return fmt.Errorf("decode %s: %w", input, err)
		}
		files = append(files, r, w)
		c.ExtraFiles = append(c.ExtraFiles, w)
		c.Args = append(c.Args, args...)
		c.Args = append(c.Args, fmt.Sprintf("pipe:%d", 2+len(c.ExtraFiles)))
		wg.Go(func() { read(r) })
		return nil
	}
	c.Args = append(c.Args, args...)
	var numbers []frame
	if video {
		if err := output(fields("-map 0:v:0 -vf showinfo@v=checksum=0,scale=160:90:flags=area,format=gray -vsync passthrough -enc_time_base -1 -f rawvideo"),
			func(r io.Reader) { numbers = readFrames(r) }); err != nil {
			return nil, err
		}
	}
	if audio {
		if err := output(fields("-map 0:a:0 -af aresample=8000:async=0,aformat=sample_fmts=s16:channel_layouts=mono,ashowinfo@a -f s16le"),
			func(r io.Reader) { d.samples = readSamples(r) }); err != nil {
			return nil, err
		}
	}
	stderr, err := c.StderrPipe()
	if err != nil {
		return nil, fmt.Errorf("decode %s: %w", input, err)
	}
	if err := c.Start(); err != nil {
		return nil, fmt.Errorf("decode %s: %w", input, err)
	}
	for _, w := range c.ExtraFiles {
		w.Close()
	}
	times := d.readLog(stderr)
	wg.Wait()
	// The exit code says nothing that the error lines do not, and a torn file is a finding, not a failure of the measurement.
	var exit *exec.ExitError
	if err := c.Wait(); err != nil && !errors.As(err, &exit) {
		return nil, fmt.Errorf("decode %s: %w", input, err)
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("decode %s: %w", input, err)
	}
	for i, f := range numbers[:min(len(numbers), len(times))] {
		if f.at = times[i]; !math.IsNaN(f.at) {
			d.frames = append(d.frames, f)
		}
	}
	return &d, nil
}

var (
	videoLine = regexp.MustCompile(`showinfo@v.*? n: *\d+ pts: *\S+ pts_time:(\S+)`)
	audioLine = regexp.MustCompile(`ashowinfo@a.*? n:\d+ pts:\S+ pts_time:(\S+) .*?nb_samples:(\d+)`)
)

// readLog collects the timestamps and errors ffmpeg prints; it returns those of the pictures.
func (d *decoded) readLog(r io.Reader) (times []float64) {
	s := bufio.NewScanner(r)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		line := s.Text()
		if !strings.Contains(line, "showinfo@") {
			if strings.Contains(line, "[error]") || strings.Contains(line, "[fatal]") {
				d.errs = append(d.errs, line[:min(len(line), 200)])
			}
		} else if m := audioLine.FindStringSubmatch(line); m != nil {
			n, _ := strconv.Atoi(m[2])
			d.chunks = append(d.chunks, chunk{seconds(m[1]), n})
		} else if m := videoLine.FindStringSubmatch(line); m != nil {
			times = append(times, seconds(m[1]))
		}
	}
	return times
}

func seconds(s string) float64 {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return math.NaN()
	}
	return f
}

func readFrames(r io.Reader) (out []frame) {
	buf := make([]byte, lookW*lookH)
	for {
		if _, err := io.ReadFull(r, buf); err != nil {
			return out
		}
		n, fl := readFrame(buf)
		out = append(out, frame{number: n, flash: fl})
	}
}

func readSamples(r io.Reader) []int16 {
	b, _ := io.ReadAll(r)
	out := make([]int16, len(b)/2)
	for i := range out {
		out[i] = int16(uint16(b[2*i]) | uint16(b[2*i+1])<<8)
	}
	return out
}

func fields(s string) []string { return strings.Fields(s) }

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return s[strings.LastIndexByte(s, '\n')+1:]
}
