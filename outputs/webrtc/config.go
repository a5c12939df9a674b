package webrtc

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/pion/webrtc/v4"

	"lineout/calls/rtc/transport"
)

// Config holds the settings of WebRTC playback.
type Config struct {
	transport.Config

	ICEServers []string `setting:"webrtc.ice_servers" default:"" secret:"true" doc:"STUN and TURN servers told to WHEP players, each as url or url|user|password"`

	PlayWait          time.Duration `setting:"webrtc.play_wait" default:"20s" doc:"how long a viewer waits for a call that is not answered yet"`
	ConnectTimeout    time.Duration `setting:"webrtc.connect_timeout" default:"20s" doc:"how long ICE and DTLS may take before a viewer is given up"`
	DisconnectTimeout time.Duration `setting:"webrtc.disconnect_timeout" default:"20s" doc:"how long a viewer may be silent before it is dropped"`

	PlayoutDelay time.Duration `setting:"webrtc.playout_delay" default:"100ms" unit:"ms" min:"0ms" max:"2s" doc:"how long browsers keep the picture back, which is what their sound takes; 0 leaves it to them"`

	NackBuffer          int `setting:"webrtc.nack_buffer" default:"512" min:"0" max:"8192" doc:"video packets kept per stream to answer NACKs"`
	MTU                 int `setting:"webrtc.mtu" default:"1200" min:"400" max:"1400" doc:"largest RTP payload in bytes; larger packets are cut anew"`
	MaxViewers          int `setting:"webrtc.max_viewers" default:"1000" min:"0" doc:"viewers of all streams together; 0 is no limit"`
	MaxViewersPerStream int `setting:"webrtc.max_viewers_per_stream" default:"0" min:"0" doc:"viewers of one stream; 0 is no limit"`
}

// DefaultConfig returns the settings that hold when nothing is configured.
func DefaultConfig() Config {
	return Config{
		PlayWait: 20 * time.Second, ConnectTimeout: 20 * time.Second, DisconnectTimeout: 20 * time.Second,
		PlayoutDelay: 100 * time.Millisecond, NackBuffer: 512, MTU: 1200, MaxViewers: 1000,
	}
}

// Validate reports every setting that cannot work, by its name.
func (c *Config) Validate() error {
	errs := []error{c.Config.Validate()}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"webrtc.play_wait", c.PlayWait}, {"webrtc.connect_timeout", c.ConnectTimeout}, {"webrtc.disconnect_timeout", c.DisconnectTimeout}} {
		if d.value <= 0 {
			errs = append(errs, fmt.Errorf("%s: must be more than 0, got %v", d.name, d.value))
		}
	}
	if c.PlayoutDelay < 0 || c.PlayoutDelay > 2*time.Second {
		errs = append(errs, fmt.Errorf("webrtc.playout_delay: must be 0 to 2 s, got %v", c.PlayoutDelay))
	}
	if c.MTU < 400 || c.MTU > 1400 {
		errs = append(errs, fmt.Errorf("webrtc.mtu: must be 400 to 1400 bytes, got %d", c.MTU))
	}
	if c.NackBuffer < 0 || c.NackBuffer > 8192 {
		errs = append(errs, fmt.Errorf("webrtc.nack_buffer: must be 0 to 8192 packets, got %d", c.NackBuffer))
	}
	if _, err := parseICEServers(c.ICEServers); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// parseICEServers reads "url" and "url|user|password" entries.
func parseICEServers(list []string) ([]webrtc.ICEServer, error) {
	var out []webrtc.ICEServer
	for i, entry := range list {
		entry = strings.TrimSpace(entry)
		if entry == "" {
			continue
		}
		parts := strings.Split(entry, "|")
		scheme, rest, _ := strings.Cut(parts[0], ":")
		switch scheme {
		case "stun", "stuns", "turn", "turns":
		default:
			rest = ""
		}
		if rest == "" || len(parts) == 2 || len(parts) > 3 || strings.ContainsAny(entry, "<>\"\r\n") {
			// The entry itself may hold a password, so only its place is told.
			return nil, fmt.Errorf("webrtc.ice_servers: entry %d must be stun:host:port, turn:host:port or url|user|password", i+1)
		}
		s := webrtc.ICEServer{URLs: []string{parts[0]}}
		if len(parts) == 3 {
			s.Username, s.Credential = parts[1], parts[2]
		}
		out = append(out, s)
	}
	return out, nil
}
