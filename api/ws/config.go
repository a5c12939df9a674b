package ws

import (
	"errors"
	"fmt"
	"path"
	"time"
)

// Config holds the settings of the WebSocket the browser SDK connects to.
type Config struct {
	PingInterval time.Duration `setting:"ws.ping_interval" default:"5s" doc:"how often a browser session is pinged"`
	PingLimit    int           `setting:"ws.ping_limit" default:"10" min:"1" doc:"unanswered pings after which a browser session is dropped"`
	Origins      []string      `setting:"ws.origins" default:"" doc:"hosts whose pages may open a session, like *.example.com; empty allows every page"`

	MaxSessions int `setting:"ws.max_sessions" default:"2000" min:"1" doc:"browser sessions at a time"`
	MaxStreams  int `setting:"ws.max_streams_per_session" default:"32" min:"1" doc:"streams one browser session may play at a time"`
	MaxMessage  int `setting:"ws.max_message" default:"262144" min:"4096" doc:"largest message of a browser session in bytes"`
	MessageRate int `setting:"ws.message_rate" default:"100" min:"1" doc:"messages per second read from one browser session; more are read later"`
}

// DefaultConfig returns the settings that hold when nothing is configured.
func DefaultConfig() Config {
	return Config{PingInterval: 5 * time.Second, PingLimit: 10, MaxSessions: 2000, MaxStreams: 32, MaxMessage: 256 << 10, MessageRate: 100}
}

// Validate reports every setting that cannot work, by its name.
func (c *Config) Validate() error {
	var errs []error
	if c.PingInterval <= 0 {
		errs = append(errs, fmt.Errorf("ws.ping_interval: must be more than 0, got %v", c.PingInterval))
	}
	for _, n := range []struct {
		name       string
		value, min int
	}{
		{"ws.ping_limit", c.PingLimit, 1}, {"ws.max_sessions", c.MaxSessions, 1}, {"ws.max_streams_per_session", c.MaxStreams, 1},
		{"ws.max_message", c.MaxMessage, 4096}, {"ws.message_rate", c.MessageRate, 1},
	} {
		if n.value < n.min {
			errs = append(errs, fmt.Errorf("%s: must be at least %d, got %d", n.name, n.min, n.value))
		}
	}
	for _, o := range c.Origins {
		if _, err := path.Match(o, ""); err != nil {
			errs = append(errs, fmt.Errorf("ws.origins: %q is no pattern: %w", o, err))
		}
	}
	return errors.Join(errs...)
}
