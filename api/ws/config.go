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
	MaxStreams  int `setting:"ws.max_streams_per_session" default:"32" min:"1" doc:"streams one browser session may play at a time, and as many it may publish"`
	MaxCalls    int `setting:"ws.max_calls_per_session" default:"8" min:"1" doc:"calls one browser session may have at a time, those that ring included"`
	MaxMessage  int `setting:"ws.max_message" default:"262144" min:"4096" doc:"largest message of a browser session in bytes"`
	MessageRate int `setting:"ws.message_rate" default:"100" min:"1" doc:"messages per second read from one browser session; more are read later"`

	Keep          time.Duration `setting:"ws.keep" default:"60s" unit:"s" doc:"how long a session with keepAlive, its registration and its calls wait for a browser that was cut off to come back; 0 for not at all"`
	RingTime      time.Duration `setting:"ws.ring_time" default:"60s" unit:"s" doc:"how long a call rings in a browser that does not answer"`
	LoginFailures int           `setting:"ws.login_failures" default:"10" min:"1" doc:"wrong tokens and refused registrations per minute an address may have"`
}

// DefaultConfig returns the settings that hold when nothing is configured.
func DefaultConfig() Config {
	return Config{PingInterval: 5 * time.Second, PingLimit: 10, MaxSessions: 2000, MaxStreams: 32, MaxCalls: 8, MaxMessage: 256 << 10, MessageRate: 100,
		Keep: time.Minute, RingTime: time.Minute, LoginFailures: 10}
}

// Validate reports every setting that cannot work, by its name.
func (c *Config) Validate() error {
	var errs []error
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"ws.ping_interval", c.PingInterval}, {"ws.ring_time", c.RingTime}} {
		if d.value <= 0 {
			errs = append(errs, fmt.Errorf("%s: must be more than 0, got %v", d.name, d.value))
		}
	}
	if c.Keep < 0 {
		errs = append(errs, fmt.Errorf("ws.keep: must not be less than 0, got %v", c.Keep))
	}
	for _, n := range []struct {
		name       string
		value, min int
	}{
		{"ws.ping_limit", c.PingLimit, 1}, {"ws.max_sessions", c.MaxSessions, 1}, {"ws.max_streams_per_session", c.MaxStreams, 1},
		{"ws.max_calls_per_session", c.MaxCalls, 1}, {"ws.max_message", c.MaxMessage, 4096}, {"ws.message_rate", c.MessageRate, 1},
		{"ws.login_failures", c.LoginFailures, 1},
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
