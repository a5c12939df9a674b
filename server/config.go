// Package server builds lineout from its parts, serves its ports, and starts
// and stops everything in order. It holds the one table of codecs and outputs.
package server

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"lineout/api/rest"
	"lineout/api/ws"
	"lineout/calls"
	"lineout/calls/rtc"
	"lineout/calls/sip"
	"lineout/calls/sound"
	"lineout/calls/trace"
	"lineout/calls/users"
	"lineout/codecs"
	"lineout/codecs/ffmpeg"
	"lineout/hooks"
	"lineout/inputs/publish"
	"lineout/pipeline/fillvideo"
	"lineout/pipeline/rtpin"
)

// Config are the server's own settings.
type Config struct {
	HTTPPort        int    `setting:"http.port" default:"8081" min:"0" max:"65535" doc:"Port of the REST API and web pages, 0 for none."`
	LegacyPort      int    `setting:"http.legacy_port" default:"9091" min:"0" max:"65535" doc:"Second port of the REST API, where older clients look for it, 0 for none."`
	WSPort          int    `setting:"ws.port" default:"8080" min:"0" max:"65535" doc:"Port of the WebSocket the browser SDK connects to, 0 for none."`
	HLSPort         int    `setting:"hls.port" default:"8082" min:"0" max:"65535" doc:"Port where players look for HLS, 0 for none."`
	HTTPSPort       int    `setting:"https.port" default:"8444" min:"0" max:"65535" doc:"Port of the REST API and web pages by TLS, 0 for none."`
	HTTPSLegacyPort int    `setting:"https.legacy_port" default:"8888" min:"0" max:"65535" doc:"Second TLS port of the REST API, where older clients look for it, 0 for none."`
	WSSPort         int    `setting:"wss.port" default:"8443" min:"0" max:"65535" doc:"TLS port of the WebSocket the browser SDK connects to, 0 for none."`
	HLSSPort        int    `setting:"https.hls_port" default:"8445" min:"0" max:"65535" doc:"TLS port where players look for HLS, 0 for none."`
	TLSCert         string `setting:"https.cert" doc:"Certificate of the TLS ports, with those of its authorities, as a PEM file; it is read anew when it changes. Empty makes a self-signed one."`
	TLSKey          string `setting:"https.key" doc:"Private key of https.cert as a PEM file."`
	TLSFolder       string `setting:"https.folder" default:"tls" doc:"Folder in which the self-signed certificate is kept."`
	HTTPBind        string `setting:"http.address" default:"" doc:"Local address all HTTP ports listen on; empty means all addresses."`

	LogLevel  string `setting:"log_level" default:"info" choices:"debug,info,warn,error" doc:"Least severity that is logged; debug shows SIP messages."`
	LogFormat string `setting:"log_format" default:"text" choices:"text,json" doc:"Form of log lines."`

	ShutdownTimeout time.Duration `setting:"shutdown_timeout" default:"15s" unit:"s" doc:"How long a stop may take to hang up calls and finish files."`
	Debug           bool          `setting:"debug_endpoints" default:"false" doc:"Serve Go profiles below /debug/pprof/ to programs on this machine."`
}

// Validate checks what the tags cannot.
func (c *Config) Validate() error {
	if c.ShutdownTimeout <= 0 {
		return fmt.Errorf("shutdown_timeout is %v: it must be more than 0", c.ShutdownTimeout)
	}
	ports := map[int]string{}
	for _, p := range c.ports() {
		if p.port == 0 {
			continue
		}
		if other, dup := ports[p.port]; dup {
			return fmt.Errorf("%s and %s are both %d: every port serves everything, so set one of them to 0", other, p.setting, p.port)
		}
		ports[p.port] = p.setting
	}
	if len(ports) == 0 {
		return fmt.Errorf("http.port, https.port, ws.port, wss.port and the others are all 0: nothing could reach the server")
	}
	return c.checkTLS()
}

type portSetting struct {
	setting, use string
	port         int
	tls          bool
}

func (c *Config) ports() []portSetting {
	return []portSetting{
		{"http.port", "REST API, player page, WHEP", c.HTTPPort, false},
		{"http.legacy_port", "REST API for older clients", c.LegacyPort, false},
		{"ws.port", "WebSocket of the browser SDK", c.WSPort, false},
		{"hls.port", "HLS", c.HLSPort, false},
		{"https.port", "the same as http.port by TLS", c.HTTPSPort, true},
		{"https.legacy_port", "the same as http.legacy_port by TLS", c.HTTPSLegacyPort, true},
		{"wss.port", "WebSocket of the browser SDK by TLS", c.WSSPort, true},
		{"https.hls_port", "HLS by TLS", c.HLSSPort, true},
	}
}

// Logger makes the logger the settings ask for.
func (c *Config) Logger(w io.Writer) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(strings.ToUpper(c.LogLevel))); err != nil {
		level = slog.LevelInfo
	}
	o := &slog.HandlerOptions{Level: level}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

// Settings are the settings of all parts, ready to be filled by package configs.
type Settings struct {
	Version string
	Server  Config
	SIP     sip.Config
	Calls   calls.Config
	Users   users.Config
	RTC     rtc.Config
	RTPIn   rtpin.Config
	Codecs  codecs.Rules
	FFmpeg  ffmpeg.Config
	Video   fillvideo.Config
	REST    rest.Config
	WS      ws.Config
	Hooks   hooks.Config
	Trace   trace.Config
	Sound   sound.Config
	Publish publish.Config
	// Outputs holds one settings struct per line of the output table.
	Outputs []any
}

// NewSettings makes empty settings for every part of this build.
func NewSettings(version string) *Settings {
	s := &Settings{Version: version}
	for _, k := range outputKinds() {
		s.Outputs = append(s.Outputs, k.Config())
	}
	return s
}

// Sections lists the structs to fill, in the order of the documentation.
func (s *Settings) Sections() []any {
	return append([]any{&s.Server, &s.REST, &s.WS, &s.Hooks, &s.Trace, &s.SIP, &s.Users, &s.RTC, &s.Calls, &s.Sound, &s.Publish, &s.RTPIn, &s.Codecs, &s.FFmpeg, &s.Video}, s.Outputs...)
}
