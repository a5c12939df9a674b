package media

import "fmt"

// Report is what [Measure] found. Times are seconds on the input's own clock unless a name says milliseconds.
type Report struct {
	Format       string   // ffprobe's name of the container
	Duration     float64  // as the container states it, 0 if it does not
	Video        *Video   // nil: no such track
	Audio        *Audio   // nil: no such track
	Sync         *Sync    // nil: nothing to compare
	DecodeErrors int      // lines ffmpeg wrote at level error
	FirstErrors  []string // at most three of them
}

// Video is what the picture showed.
type Video struct {
	Codec        string // ffprobe's name: h264, vp8
	Profile      string
	Size         string // 640x360
	Frames       int    // decoded
	Numbered     int    // of them with a readable bar code
	Start, End   float64
	MaxGapMillis float64 // longest time between two frames
	NotForward   int     // timestamps that do not increase
	Lost         int     // frame numbers that never came
	Repeated     int     // frame numbers seen twice in a row
	Backward     int     // frame numbers that go back, the clip's own restart excepted
	Restarts     int     // of the clip
	First, Last  int     // first and last frame number, -1 if none could be read
	Speed        float64 // media time of the clip per time of the input; 1 is right, 0 unknown
	Flashes      int
}

// Audio is what the sound held.
type Audio struct {
	Codec         string // ffprobe's name: aac, pcm_alaw, opus
	Rate          int    // Hz
	Channels      int
	Start, End    float64
	Beeps         int
	LevelDB       float64 // of the beeps, dBFS; 0 if there are none
	SNRDB         float64 // of the beeps
	PilotDB       float64 // dBFS; -inf if there is none
	PilotHz       float64 // its frequency, sent as 412.5; 0 if there is none
	Gaps          int     // holes in the pilot
	MaxGapMillis  float64
	Holes         int // jumps of the timestamps
	MaxHoleMillis float64
	Jumps         int // jumps of the pilot's phase: packets lost, repeated or spliced
}

// Sync is the offset of the beeps against the flashes; positive: sound is late.
type Sync struct {
	Pairs          int
	MedianMillis   float64
	MinMillis      float64
	MaxMillis      float64
	SettledMillis  float64 // the largest offset, either way, from 3 s after the first flash on
	DriftPerMinute float64 // milliseconds
}

// String is the report in three lines.
func (r *Report) String() string {
	s := fmt.Sprintf("%s, %.2f s, %d decoding errors %q", r.Format, r.Duration, r.DecodeErrors, r.FirstErrors)
	if r.Video != nil {
		s += fmt.Sprintf("\nvideo %+v", *r.Video)
	}
	if r.Audio != nil {
		s += fmt.Sprintf("\naudio %+v", *r.Audio)
	}
	if r.Sync != nil {
		s += fmt.Sprintf("\nsync  %+v", *r.Sync)
	}
	return s
}
