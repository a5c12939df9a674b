package publish

import (
	"errors"
	"fmt"
)

// Config holds the settings of publishing.
type Config struct {
	Enabled    bool   `setting:"publish.enabled" default:"true" doc:"browsers (WebSDK) and encoders (WHIP) may publish streams"`
	Max        int    `setting:"publish.max_streams" default:"200" min:"0" doc:"streams published at a time; 0 is no limit"`
	MaxBitrate int    `setting:"publish.max_bitrate" default:"0" min:"0" max:"100000" unit:"kbit/s" doc:"most a publisher is told to send as video, in kbit/s; 0 leaves it to the publisher"`
	RTMP       bool   `setting:"publish.rtmp" default:"true" doc:"a page may have its stream pushed to an RTMP server it names (rtmpUrl)"`
	WHIPToken  string `setting:"whip.token" default:"" secret:"true" doc:"what WHIP publishers have to send as Authorization: Bearer TOKEN; empty lets everybody publish"`
}

// Validate reports every setting that cannot work, by its name.
func (c *Config) Validate() error {
	var errs []error
	if c.Max < 0 {
		errs = append(errs, fmt.Errorf("publish.max_streams: must not be less than 0, got %d", c.Max))
	}
	if c.MaxBitrate < 0 || c.MaxBitrate > 100000 {
		errs = append(errs, fmt.Errorf("publish.max_bitrate: must be 0 to 100000 kbit/s, got %d", c.MaxBitrate))
	}
	return errors.Join(errs...)
}
