package fillvideo

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"lineout/codecs/h264"
)

// Config are the settings of generated pictures.
type Config struct {
	Generate bool          `setting:"generate_video" default:"false" doc:"Give RTMP pushes and HLS a black picture while a call has none, so that they have video from the start; a push request may say otherwise by generateVideo."`
	Size     string        `setting:"generate_video_size" default:"640x360" doc:"Width and height of the black picture of generate_video in pixels, both even."`
	Rate     int           `setting:"generate_video_rate" default:"5" min:"1" max:"30" doc:"Black pictures per second of generate_video."`
	Repeat   time.Duration `setting:"generate_video_start_delay" default:"2s" unit:"ms" min:"0ms" max:"1m" doc:"When a call's pictures stop for so long while its sound goes on (hold, camera off, loss), RTMP and HLS get the last key frame again and again until pictures return; 0 for never. Recordings never hold generated pictures."`

	// Margin is how far behind the sound generated pictures stay, so that real
	// ones that are late find their place free. Set by the server from
	// rtp_in_buffer_max.
	Margin time.Duration
}

// spare is what Margin has besides rtp_in_buffer_max: a conversion and the
// queue before the sink hold pictures back that long.
const spare = 300 * time.Millisecond

// MarginFor is the margin that goes with a hold of so long for sound and
// picture to come in step.
func MarginFor(hold time.Duration) time.Duration { return hold + spare }

// Validate checks what the tags cannot.
func (c *Config) Validate() error {
	if _, err := c.black(); err != nil {
		return fmt.Errorf("generate_video_size is %q: %w", c.Size, err)
	}
	if c.Rate < 1 {
		return fmt.Errorf("generate_video_rate is %d, it must be at least 1", c.Rate)
	}
	if c.Repeat != 0 && c.Repeat < time.Second {
		return fmt.Errorf("generate_video_start_delay is %v: less than 1s would take a slow camera for one that stopped; 0 is never", c.Repeat)
	}
	return nil
}

func (c *Config) black() (*h264.Black, error) {
	w, h, found := strings.Cut(strings.ToLower(c.Size), "x")
	width, err := strconv.Atoi(strings.TrimSpace(w))
	if err != nil || !found {
		return nil, fmt.Errorf("want width and height, as in 640x360")
	}
	height, err := strconv.Atoi(strings.TrimSpace(h))
	if err != nil {
		return nil, fmt.Errorf("want width and height, as in 640x360")
	}
	return h264.NewBlack(width, height)
}
