package rtc

import (
	"errors"
	"fmt"
	"time"
)

// Config holds the settings of browsers' calls and publishing.
type Config struct {
	ConnectTimeout    time.Duration `setting:"webrtc.connect_timeout" default:"20s" doc:"how long ICE and DTLS may take before a viewer is given up"`
	DisconnectTimeout time.Duration `setting:"webrtc.disconnect_timeout" default:"20s" doc:"how long a viewer may be silent before it is dropped"`
	MaxPeers          int           `setting:"webrtc.max_peers" default:"1000" min:"0" doc:"browsers that call, are called or publish, together; 0 is no limit"`

	// RTPActivity ends a peer that sends no media for so long; 0 never does. The
	// setting rtp_activity_detecting is read by calls/sip.
	RTPActivity time.Duration
}

// DefaultConfig returns the settings that hold when nothing is configured.
func DefaultConfig() Config {
	return Config{ConnectTimeout: 20 * time.Second, DisconnectTimeout: 20 * time.Second, MaxPeers: 1000, RTPActivity: time.Minute}
}

// Validate reports every setting that cannot work, by its name.
func (c *Config) Validate() error {
	var errs []error
	if c.ConnectTimeout <= 0 {
		errs = append(errs, fmt.Errorf("webrtc.connect_timeout: must be more than 0, got %v", c.ConnectTimeout))
	}
	if c.DisconnectTimeout <= 0 {
		errs = append(errs, fmt.Errorf("webrtc.disconnect_timeout: must be more than 0, got %v", c.DisconnectTimeout))
	}
	return errors.Join(errs...)
}
