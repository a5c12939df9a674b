package rtpin

import (
	"errors"
	"fmt"
	"time"
)

// Config are the settings of the RTP input.
type Config struct {
	// InBuffer holds frames of both tracks until they can be handed on aligned
	// and interleaved (S2-49). Sync by sender reports is done with and without it.
	InBuffer bool `setting:"rtp_in_buffer" default:"true" doc:"Hold audio and video of a call back until both can be handed on in step; false gives the lowest delay, with audio possibly ahead of video."`
	// InBufferMax bounds the hold; the delay of one track behind the other that
	// is still brought in order.
	InBufferMax time.Duration `setting:"rtp_in_buffer_max" default:"400ms" unit:"ms" min:"0ms" max:"5s" doc:"Longest time rtp_in_buffer holds a frame for the other track."`
	// JitterMin and JitterMax bound how long a hole in the sequence numbers is
	// waited for. Packets in order never wait.
	JitterMin time.Duration `setting:"rtp_jitter_min" default:"40ms" unit:"ms" min:"0ms" max:"2s" doc:"Shortest time to wait for a missing RTP packet; packets in order are never delayed."`
	JitterMax time.Duration `setting:"rtp_jitter_max" default:"200ms" unit:"ms" min:"0ms" max:"2s" doc:"Longest time to wait for a missing RTP packet, reached when packets were measured to come that late."`
	// SyncSlew is how fast video is moved towards audio, in ms per second.
	SyncSlew int `setting:"rtp_sync_slew" default:"5" min:"1" max:"100" doc:"How fast video is moved to meet the audio, in milliseconds per second of call."`
	// GeneratorDelay is the silence after which an expected audio track gets
	// filler; 0 switches filler off (S4-15).
	GeneratorDelay time.Duration `setting:"generate_av_start_delay" default:"0" unit:"ms" min:"0ms" max:"1m" doc:"Silence of a call's audio track after which generated silence fills it, 0 for never."`
}

// DefaultConfig returns the defaults that the setting tags declare.
func DefaultConfig() Config {
	return Config{
		InBuffer:    true,
		InBufferMax: 400 * time.Millisecond,
		JitterMin:   40 * time.Millisecond,
		JitterMax:   200 * time.Millisecond,
		SyncSlew:    5,
	}
}

// Validate returns all faults joined, each with its setting's name.
func (c *Config) Validate() error {
	var errs []error
	if c.InBufferMax < 0 {
		errs = append(errs, fmt.Errorf("rtp_in_buffer_max is %v, it must not be negative", c.InBufferMax))
	}
	if c.JitterMin < 0 {
		errs = append(errs, fmt.Errorf("rtp_jitter_min is %v, it must not be negative", c.JitterMin))
	}
	if c.JitterMax < c.JitterMin {
		errs = append(errs, fmt.Errorf("rtp_jitter_max is %v, it must be at least rtp_jitter_min (%v)", c.JitterMax, c.JitterMin))
	}
	if c.SyncSlew < 1 {
		errs = append(errs, fmt.Errorf("rtp_sync_slew is %d, it must be at least 1 ms per second", c.SyncSlew))
	}
	if c.GeneratorDelay < 0 {
		errs = append(errs, fmt.Errorf("generate_av_start_delay is %v, it must not be negative", c.GeneratorDelay))
	}
	return errors.Join(errs...)
}
