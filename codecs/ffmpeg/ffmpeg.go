// Package ffmpeg converts video from one codec into another by a child process
// of the ffmpeg program: VP8 to H.264 for what takes nothing else (RTMP, HLS),
// and H.264 to VP8 for browsers without H.264. The program is looked for at
// start; without it there are no such conversions and all else works.
//
// A conversion is one process. It is started by the first key frame it gets,
// fed through its standard input by a goroutine of its own, and read by
// another; both end with the process, which Close kills and reaps. A process
// that ends or hangs is replaced after a pause and begun with a key frame.
package ffmpeg

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os/exec"
	"slices"
	"strings"
	"time"

	"lineout/codecs"
	"lineout/codecs/h264"
	"lineout/codecs/vp8"
	"lineout/media"
)

// Config are the settings of video conversion.
type Config struct {
	Path    string `setting:"ffmpeg" default:"ffmpeg" doc:"Program that converts video (VP8 to H.264 for RTMP and HLS, H.264 to VP8 for browsers without H.264), ffmpeg 5.1 or newer; a name is looked for in PATH, empty turns conversion of video off."`
	Bitrate int    `setting:"ffmpeg_video_bitrate" default:"2000" min:"50" max:"50000" doc:"Upper limit of converted video in kbit/s; simple pictures take less."`
	Preset  string `setting:"ffmpeg_video_preset" default:"superfast" choices:"ultrafast,superfast,veryfast,faster,fast,medium" doc:"Effort of the H.264 encoder: slower ones give better pictures at the same bit rate and cost more CPU."`
	Threads int    `setting:"ffmpeg_video_threads" default:"1" min:"1" max:"16" doc:"Threads of the encoder for each converted stream; more help only with pictures one core cannot encode in time."`
	// KeyInterval is how far apart key frames of H.264 are.
	KeyInterval time.Duration `setting:"ffmpeg_video_keyframe_interval" default:"2s" min:"500ms" max:"1m" unit:"s" doc:"Time between key frames of converted H.264; HLS segments and players that join wait for one."`
}

// kind is one conversion this package knows how to have done.
type kind struct {
	from, to codecs.Codec
	encoder  string
	input    func() []string
	args     func(in []string, c Config, w, h int) []string
	mux      func() muxer
	demux    func(r *bufio.Reader) demuxer
}

// kinds lists the conversions. Those of a codec to itself are planned only
// where the rules ask that everything be encoded anew (codecs.Rules).
func kinds() []kind {
	type side struct {
		codec   codecs.Codec
		encoder string
		input   func() []string
		args    func(in []string, c Config, w, h int) []string
		mux     func() muxer
		demux   func(r *bufio.Reader) demuxer // of what this side's encoder gives
	}
	v := side{vp8.Codec, "libvpx", fromVP8, toVP8, func() muxer { return ivfMuxer{} }, func(r *bufio.Reader) demuxer { return &ivfDemuxer{r: r} }}
	h := side{h264.Codec, "libx264", fromH264, toH264, func() muxer { return flvMuxer{} }, func(r *bufio.Reader) demuxer { return &flvDemuxer{r: r} }}
	var list []kind
	for _, pair := range [][2]side{{v, h}, {h, v}, {h, h}, {v, v}} {
		from, to := pair[0], pair[1]
		list = append(list, kind{from: from.codec, to: to.codec, encoder: to.encoder, input: from.input,
			args: to.args, mux: from.mux, demux: to.demux})
	}
	return list
}

// Converters looks for the program, asks it once which encoders it has, and
// returns the conversions it can do: none if it is missing or turned off. What
// is missing is said in the log, once.
func Converters(ctx context.Context, c Config, log *slog.Logger) []codecs.Converter {
	if c.Path == "" {
		return nil
	}
	const lost = "video goes only where its own codec is taken; elsewhere there is sound alone"
	path, err := exec.LookPath(c.Path)
	if err != nil {
		log.Warn("no conversion of video: "+lost, "err", err, "remedy", "install ffmpeg, or set ffmpeg to its path, or to nothing if this is meant")
		return nil
	}
	have, err := encoders(ctx, path)
	if err != nil {
		log.Warn("no conversion of video: "+lost, "err", err, "remedy", "see whether "+path+" runs by hand")
		return nil
	}
	var list []codecs.Converter
	var missing []string
	for _, k := range kinds() {
		if !slices.Contains(have, k.encoder) {
			if !slices.Contains(missing, k.encoder) {
				missing = append(missing, k.encoder)
				log.Warn("no conversion to "+string(k.to.Name())+": "+lost, "err", fmt.Sprintf("%s was built without %s", path, k.encoder))
			}
			continue
		}
		list = append(list, codecs.Converter{From: k.from.Name(), To: k.to.Name(), ClockRate: k.to.ClockRate(),
			New: func(in *media.Track, o codecs.Options) (codecs.Conversion, error) {
				return newConversion(k, path, c, in, o), nil
			}})
	}
	return list
}

// probeTimeout is far above what a healthy program takes (0.1 s).
const probeTimeout = 10 * time.Second

// encoders lists the names the program gives for -encoders.
func encoders(ctx context.Context, path string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "-hide_banner", "-loglevel", "error", "-encoders")
	ownGroup(cmd)
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("asking %s for its encoders: %w", path, err)
	}
	var names []string
	for line := range bytes.Lines(out) {
		// " V....D libx264   libx264 H.264 / AVC ..."
		if f := strings.Fields(string(line)); len(f) >= 2 && strings.HasPrefix(f[0], "V") {
			names = append(names, f[1])
		}
	}
	return names, nil
}
