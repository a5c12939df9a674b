package ffmpeg

import (
	"fmt"
	"strconv"
)

// Both directions share what keeps the delay low and the times true:
//
//   - -threads 1 before the input: with more, the decoder holds that many
//     pictures back (135 ms instead of 2 at 15 pictures/s);
//   - the least probing: the default looks at 5 s of input first;
//   - times are milliseconds from the first picture, in and out, never
//     resampled to a frame rate.
func input(format string, extra ...string) []string {
	a := []string{"-hide_banner", "-nostdin", "-loglevel", "error",
		"-probesize", "32", "-analyzeduration", "0", "-protocol_whitelist", "pipe", "-threads", "1"}
	a = append(a, extra...)
	return append(a, "-f", format, "-i", "pipe:0", "-map", "0:v:0", "-an")
}

// What the demuxers of the program are told for each codec that goes in.
func fromVP8() []string  { return input("ivf") }
func fromH264() []string { return input("flv", "-flags", "low_delay") }

func output(format string) []string {
	return []string{"-pix_fmt", "yuv420p", "-fps_mode", "passthrough", "-enc_time_base", "1:1000", "-copyts",
		"-flush_packets", "1", "-f", format, "pipe:1"}
}

// toH264 makes Constrained Baseline, which every player takes, one slice per
// thread, no picture held back. The rate is what the picture needs, up to the
// limit. fps=25 only tells the rate control what to expect: from the time base
// it would conclude 1000 pictures/s.
//
// A key frame cannot be asked for while the program runs, so they come at a
// fixed distance in time, whatever the frame rate. prev_forced_t, not a
// multiple of the interval, so that a pause in the picture is not followed by
// a burst of them.
func toH264(in []string, c Config, w, h int) []string {
	a := in
	if w%2 != 0 || h%2 != 0 { // 4:2:0 has no half samples
		a = append(a, "-vf", fmt.Sprintf("crop=%d:%d:0:0", w&^1, h&^1))
	}
	rate := strconv.Itoa(c.Bitrate) + "k"
	a = append(a, "-c:v", "libx264", "-preset", c.Preset, "-tune", "zerolatency", "-profile:v", "baseline",
		"-threads", strconv.Itoa(c.Threads), "-crf", "23", "-maxrate", rate, "-bufsize", rate, "-x264-params", "fps=25",
		"-bf", "0", "-g", "100000", "-sc_threshold", "0", "-forced-idr", "1", "-force_key_frames",
		fmt.Sprintf("expr:if(isnan(prev_forced_t),1,gte(t,prev_forced_t+%.3f))", c.KeyInterval.Seconds()-0.005),
		"-flvflags", "no_duration_filesize")
	return append(a, output("flv")...)
}

// toVP8 encodes for browsers, which ask for a key frame when they lost too
// much: the request goes to the source, and each of the source's key frames
// becomes one here.
func toVP8(in []string, c Config, _, _ int) []string {
	rate := strconv.Itoa(c.Bitrate) + "k"
	a := append(in, "-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-lag-in-frames", "0",
		"-auto-alt-ref", "0", "-error-resilient", "1", "-threads", strconv.Itoa(c.Threads),
		"-crf", "20", "-b:v", rate, "-maxrate", rate, "-bufsize", rate, "-g", "300", "-force_key_frames", "source")
	return append(a, output("ivf")...)
}
