package recorder

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"lineout/media"
)

// Config are the settings of recording. Names known from WCS keep their name and meaning.
type Config struct {
	RecordStreams   bool          `setting:"record_streams" default:"true" doc:"Recording is possible at all; false refuses every recording."`
	SIPRecordStream bool          `setting:"sip_record_stream" default:"false" doc:"Record every stream of a SIP call."`
	Dir             string        `setting:"record_dir" default:"records" doc:"Folder the recordings are written to; created when missing."`
	Policy          string        `setting:"stream_record_policy" default:"template" doc:"How files are named: template or streamName."`
	Template        string        `setting:"stream_record_policy_template" default:"stream-{mediaSessionId}-{login}" doc:"File name template of the policy template."`
	Formats         []string      `setting:"record_formats" default:"h264-mp4,vp8-webm" doc:"Containers by video codec, the first that is listed for a codec: h264-mp4 (MP4 with H.264 and AAC), vp8-webm (WebM with VP8 and Opus), h264-mkv and vp8-mkv (Matroska with the sound as the call has it: Opus, PCMA or PCMU, others as Opus). Video of a codec that is not listed is converted if it can be, else left out."`
	AudioFormat     string        `setting:"record_audio_format" default:"mp4" doc:"File of a call without video: mp4 (with AAC), ogg (Opus, as the call has it or converted), or wav (PCMA and PCMU as the call has them, other sound as 16-bit samples). When video joins, a new part begins in its container."`
	MP4Audio        string        `setting:"record_mp4_audio" default:"aac" doc:"Sound in MP4 files: aac, which every player takes, or opus, which keeps the Opus of a call as it comes (browsers and ffmpeg play it, many others do not). Other sound is converted."`
	Rotation        string        `setting:"record_rotation" default:"" doc:"Begin a new file after so many seconds (600) or bytes (20M, 1G); empty is never."`
	Sidecar         bool          `setting:"record_sidecar" default:"true" doc:"Write NAME.json beside each finished recording NAME: what is in it, its gaps, and its SHA-256, which lineout verify checks."`
	Serve           bool          `setting:"record_serve" default:"true" doc:"Serve finished recordings as /client/records/NAME to whoever knows the name, for pages that record; false serves none."`
	HookScript      string        `setting:"on_record_hook_script" default:"" doc:"Program run when a recording is finished, with the stream name and the absolute file path as arguments; empty is none."`
	HookTimeout     time.Duration `setting:"on_record_hook_timeout" default:"60s" unit:"s" doc:"The hook program is killed after this time."`
	SyncInterval    time.Duration `setting:"record_sync_interval" default:"5s" unit:"s" doc:"How often a growing file is forced to disk against power loss; 0 leaves it to the operating system until the file is finished."`
	Finalisers      int           `setting:"record_finalisers" default:"2" min:"1" max:"64" doc:"How many finished recordings are rewritten for fast start at the same time."`
	ShutdownTimeout time.Duration `setting:"record_shutdown_timeout" default:"10s" unit:"s" doc:"How long a stop waits for recordings to be finalised; what is left is done at the next start."`
}

// Values of stream_record_policy.
const (
	policyTemplate   = "template"
	policyStreamName = "streamName"
)

// Validate checks what can be told without touching the disk.
func (c *Config) Validate() error {
	if c.Dir == "" {
		return fmt.Errorf("record_dir is empty: name the folder for recordings")
	}
	if c.Policy != policyTemplate && c.Policy != policyStreamName {
		return fmt.Errorf("stream_record_policy is %q, want %s or %s", c.Policy, policyTemplate, policyStreamName)
	}
	if err := checkTemplate(c.Template); err != nil {
		return fmt.Errorf("stream_record_policy_template: %w", err)
	}
	if _, err := parseRotation(c.Rotation); err != nil {
		return fmt.Errorf("record_rotation: %w", err)
	}
	if len(c.Formats) == 0 {
		return fmt.Errorf("record_formats is empty: name %s", strings.Join(formatNames(), " or "))
	}
	if soundContainers[c.AudioFormat] == nil {
		return fmt.Errorf("record_audio_format is %q, want mp4, ogg or wav", c.AudioFormat)
	}
	if mp4Containers[c.MP4Audio] == nil {
		return fmt.Errorf("record_mp4_audio is %q, want aac or opus", c.MP4Audio)
	}
	for _, f := range c.Formats {
		if f == "h264-webm" {
			return fmt.Errorf("record_formats names h264-webm, but a WebM file must not hold H.264: name h264-mkv for the same in Matroska")
		}
		if !slices.Contains(formatNames(), f) {
			return fmt.Errorf("record_formats names %q, which cannot be written: only %s can", f, strings.Join(formatNames(), " and "))
		}
	}
	return nil
}

// formatNames are the values record_formats may hold.
func formatNames() []string {
	var names []string
	for _, c := range containers {
		if c.video != "" {
			names = append(names, c.format)
		}
	}
	return names
}

// containers are those of record_formats, in its order.
func (c *Config) containers() []*container {
	var list []*container
	for _, f := range c.Formats {
		for _, k := range containers {
			if k.format == f {
				list = append(list, c.chosen(k))
			}
		}
	}
	return list
}

// chosen is a container with the sound that record_mp4_audio asks for.
func (c *Config) chosen(k *container) *container {
	if k == mp4Container {
		return mp4Containers[c.MP4Audio]
	}
	return k
}

// soundContainer is the one for sound alone.
func (c *Config) soundContainer() *container { return c.chosen(soundContainers[c.AudioFormat]) }

// formatFor is the container for video of a codec, the first that is listed,
// nil if such video is not recorded.
func (c *Config) formatFor(video media.Codec) *container {
	for _, k := range c.containers() {
		if k.video == video {
			return k
		}
	}
	return nil
}

// Check creates the folder for recordings and proves that files can be made in
// it, and that the hook program can be run; the error names the setting.
func (c *Config) Check() error {
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return fmt.Errorf("record_dir %q cannot be created: %w; choose another folder or fix its permissions", c.Dir, err)
	}
	f, err := os.CreateTemp(c.Dir, ".writable-*")
	if err != nil {
		return fmt.Errorf("record_dir %q is not writable: %w; choose another folder or fix its permissions", c.Dir, err)
	}
	f.Close()
	os.Remove(f.Name())
	if c.HookScript == "" {
		return nil
	}
	st, err := os.Stat(c.HookScript)
	if err != nil {
		return fmt.Errorf("on_record_hook_script: %w", err)
	}
	if st.IsDir() || st.Mode()&0o111 == 0 {
		return fmt.Errorf("on_record_hook_script %q is not an executable file: chmod +x it", c.HookScript)
	}
	return nil
}

// hookPath is the hook's absolute path, so that exec does not search $PATH.
func (c *Config) hookPath() (string, error) {
	if c.HookScript == "" {
		return "", nil
	}
	return filepath.Abs(c.HookScript)
}

// rotation says when a file is full; zero values are no limit.
type rotation struct {
	bytes int64
	after time.Duration
}

func (r rotation) set() bool { return r.bytes > 0 || r.after > 0 }

// parseRotation reads record_rotation: digits are seconds, digits with K, M or
// G are bytes in powers of 1024 (settings 5).
func parseRotation(s string) (rotation, error) {
	s = strings.TrimSpace(s)
	if s == "" || s == "0" {
		return rotation{}, nil
	}
	shift := 0
	switch s[len(s)-1] {
	case 'k', 'K':
		shift = 10
	case 'm', 'M':
		shift = 20
	case 'g', 'G':
		shift = 30
	}
	digits := s
	if shift > 0 {
		digits = s[:len(s)-1]
	}
	n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
	const most = 1 << 31
	if err != nil || n < 1 || n > most {
		return rotation{}, fmt.Errorf("%q is neither seconds (600) nor a size (20M)", s)
	}
	if shift == 0 {
		return rotation{after: time.Duration(n) * time.Second}, nil
	}
	return rotation{bytes: n << shift}, nil
}
