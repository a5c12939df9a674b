package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"lineout/api/admin"
	"lineout/api/doctor"
	"lineout/api/rest"
	"lineout/api/ws"
	"lineout/calls"
	"lineout/calls/leg"
	"lineout/calls/rtc"
	"lineout/calls/sip"
	"lineout/calls/sound"
	"lineout/calls/trace"
	"lineout/calls/users"
	"lineout/hooks"
	"lineout/inputs/publish"
	"lineout/outputs"
	"lineout/outputs/rtmp"
	"lineout/outputs/snapshot"
	"lineout/outputs/webrtc"
	"lineout/pipeline"
	"lineout/pipeline/fillvideo"
	"lineout/recorder"
	"lineout/web"
)

// Server is all of lineout in one process.
type Server struct {
	settings *Settings
	log      *slog.Logger
	started  time.Time

	hub        *pipeline.Hub
	users      *users.Directory
	agent      *sip.Agent
	calls      *calls.Manager
	hooks      *hooks.Notifier
	doctor     *doctor.Service
	outputs    []outputs.Output
	player     *webrtc.Service
	rtc        *rtc.Service
	publishing *publish.Service
	pusher     *rtmp.Output

	recorder *recorder.Output
	sockets  *ws.Server
	api      *rest.API

	handler   http.Handler
	tls       *certificate // nil without TLS ports
	listeners []listener
	draining  atomic.Bool
}

type listener struct {
	portSetting
	net.Listener
}

// listening is implemented by outputs that bind sockets or check folders.
type listening interface{ Listen() error }

// closing is implemented by outputs that hold sockets before Run.
type closing interface{ Close() error }

// New builds the server and takes all ports and folders it needs, so that what
// cannot work is said in one line before anything has started.
func New(settings *Settings, log *slog.Logger) (s *Server, err error) {
	s = &Server{settings: settings, log: log, started: time.Now()}
	defer func() {
		if err != nil {
			s.giveBack()
		}
	}()
	table := codecTable(settings, log)
	s.hub = pipeline.NewHub(pipeline.HubConfig{Codecs: table, Log: log, FlushTimeout: settings.Server.ShutdownTimeout * 2 / 3})
	video := settings.Video
	video.Margin = fillvideo.MarginFor(settings.RTPIn.InBufferMax)
	env := outputs.Env{Streams: s.hub, Codecs: table, Log: log, Video: video, Version: settings.Version}
	for i, k := range outputKinds() {
		o, err := k.New(env, settings.Outputs[i])
		if err != nil {
			return s, fmt.Errorf("%s: %w", k.Name, err)
		}
		s.outputs = append(s.outputs, o)
		switch v := o.(type) {
		case *webrtc.Service:
			s.player = v
		case *rtmp.Output:
			s.pusher = v
		case *recorder.Output:
			s.recorder = v
		}
		if l, ok := o.(listening); ok {
			if err := l.Listen(); err != nil {
				return s, err
			}
		}
	}
	if settings.SIP.UserAgent == "" {
		settings.SIP.UserAgent = "lineout/" + settings.Version
	}
	if s.users, err = users.New(settings.Users, log, settings.SIP.IP, settings.SIP.IPLocal); err != nil {
		return s, err
	}
	if s.agent, err = sip.New(settings.SIP, table, log); err != nil {
		return s, err
	}
	recorder := trace.New(settings.Trace)
	s.agent.Trace(recorder)
	s.doctor = doctor.New(recorder)
	if err := s.agent.Listen(); err != nil {
		return s, err
	}
	settings.RTC.RTPActivity = s.agent.RTPActivity()
	s.rtc = rtc.New(settings.RTC, s.player.Transport(), table, log)
	s.hooks = hooks.New(settings.Hooks, s.host(), log)
	s.calls = calls.NewManager(calls.Deps{Dialer: s.agent, Streams: s.hub, Codecs: table, RTPIn: settings.RTPIn,
		CheckPush: s.checkPush, StartPush: s.startPush, EarlyMedia: settings.SIP.EarlyMedia, Observe: s.observe,
		Digit: s.digit, DigitsShown: settings.SIP.DTMFLog, Message: s.hooks.Message, Log: log,
		StartRecord: s.recorder.Record, RecordUsers: s.recorder.RecordsCalls(), Config: settings.Calls, Local: s.users.Local, Known: s.known,
		Sounds: &sound.Folder{Config: settings.Sound, FFmpeg: settings.FFmpeg.Path}})
	s.agent.TakeCalls(s.calls)
	s.agent.TakeTexts(s.calls)
	s.agent.ServeUsers(s.users, s.calls)
	s.doctor.Watch(s.calls)
	if s.publishing, err = s.newPublishing(table); err != nil {
		return s, err
	}
	pictures := snapshot.New(settings.FFmpeg.Path)
	s.sockets = ws.New(settings.WS, ws.Deps{Stream: s.hub.Get, Play: s.play, Publish: s.publish, Snapshot: pictures.Take, Phone: s.phone(), Hooks: sessionHooks{s.hooks}, Log: log})
	if s.api, err = rest.New(settings.REST, rest.Deps{Calls: s.calls, Streams: s.hub, Viewers: s.viewers, Registrations: s.agent.Registrations, Phones: s.agent.Phones,
		RecordName: s.recorder.RecordName, Outputs: s.outputs, Methods: []map[string]outputs.Method{s.sockets.Methods(), pictures.Methods(s.hub.Get)}, Log: log}); err != nil {
		return s, err
	}
	if s.handler, err = s.routes(); err != nil {
		return s, err
	}
	if err := s.listen(); err != nil {
		return s, err
	}
	return s, s.hooks.Open() // with the ports taken: no other server of these settings uses its files
}

// observe passes a call's change on.
func (s *Server) observe(i calls.Info) {
	s.hooks.Notify(i)
	s.doctor.Observe(i)
}

// digit passes on what the other party of a call dials: to CallApp, which may
// be what it is meant for, and to the doctor, which shows it if the operator wants to see it.
func (s *Server) digit(i calls.Info, digit string, by leg.DTMF) {
	s.hooks.Digit(i, digit, by)
	if !s.settings.SIP.DTMFLog {
		digit = ""
	}
	s.doctor.Digit(i.CallID, digit, string(by))
}

// host is this server's address in notifications: as announced in SIP, if that is set.
func (s *Server) host() string {
	if ip := cmp.Or(s.settings.SIP.IP, s.settings.SIP.IPLocal); ip != "" {
		return ip
	}
	if name, err := os.Hostname(); err == nil {
		return name
	}
	return "localhost"
}

func (s *Server) checkPush(ctx context.Context, url, name string) error {
	return s.pusher.Check(ctx, s.target(url, name, nil))
}

// target is a call's push: the server-wide default says whether the URL holds
// the name already.
func (s *Server) target(url, name string, onStatus func(string)) rtmp.Target {
	return rtmp.Target{URL: url, Name: name, FullURL: s.pusher.FullURL(), GenerateVideo: s.pusher.GenerateVideo(), OnState: onStatus}
}

// startPush is how a call with rtmpUrl and rtmpStream gets its push (S2-10).
func (s *Server) startPush(st *pipeline.Stream, url, name string, onStatus func(string)) error {
	_, err := s.pusher.Start(st, s.target(url, name, onStatus))
	return err
}

// play joins a browser session's player to the WebRTC output.
func (s *Server) play(ctx context.Context, r ws.PlayRequest) (ws.Playback, string, error) {
	v, answer, err := s.player.Play(ctx, r.Stream, r.Offer, webrtc.PlayOptions{ID: r.ID, SessionID: r.SessionID})
	if err != nil {
		return nil, "", err
	}
	return v, answer, nil
}

// listen binds every HTTP port.
func (s *Server) listen() error {
	for _, p := range s.settings.Server.ports() {
		if p.port == 0 {
			continue
		}
		addr := net.JoinHostPort(s.settings.Server.HTTPBind, strconv.Itoa(p.port))
		l, err := net.Listen("tcp", addr)
		if err != nil {
			return fmt.Errorf("%s: cannot listen on %s for the %s: %w (choose another port with --set %s=PORT, or 0 for none)",
				p.setting, addr, p.use, reason(err), p.setting)
		}
		s.listeners = append(s.listeners, listener{p, l})
		if p.tls && s.tls == nil {
			if s.tls, err = newCertificate(&s.settings.Server, s.log, s.settings.SIP.IP, s.settings.SIP.IPLocal); err != nil {
				return err
			}
		}
	}
	return nil
}

// reason is the innermost error, without the address that is named already.
func reason(err error) error {
	for {
		u := errors.Unwrap(err)
		if u == nil {
			return err
		}
		err = u
	}
}

// giveBack frees what New took when it fails half-way.
func (s *Server) giveBack() {
	for _, l := range s.listeners {
		_ = l.Close()
	}
	for _, o := range s.outputs {
		if c, ok := o.(closing); ok {
			_ = c.Close()
		}
	}
	if s.agent != nil {
		if c, ok := any(s.agent).(closing); ok {
			_ = c.Close()
		}
	}
}

// routes puts all handlers into one tree, which every port serves.
func (s *Server) routes() (http.Handler, error) {
	mux := http.NewServeMux()
	guard := rest.NewGuard(s.settings.REST, s.log)
	metrics := []func() []outputs.Metric{s.metrics, s.sockets.Metrics, s.api.Metrics, s.hooks.Metrics, s.publishing.Metrics}
	tables := []map[string]http.Handler{s.api.Routes(), s.publishing.Routes()}
	for _, o := range s.outputs {
		metrics = append(metrics, o.Metrics)
		tables = append(tables, o.Routes())
	}
	pages, err := web.Routes()
	if err != nil {
		return nil, err
	}
	index, err := web.Index()
	if err != nil {
		return nil, err
	}
	page, err := web.Doctor()
	if err != nil {
		return nil, err
	}
	tables = append(tables, pages, s.doctor.Routes(guard.Wrap, page), admin.Routes(admin.Deps{Streams: s.hub, Metrics: metrics, Stat: s.stat,
		Health: s.health, Guard: guard.Wrap, Index: index, Start: s.started, Log: s.log}))
	if s.settings.Server.Debug {
		tables = append(tables, profiles(guard.Wrap))
	}
	for _, t := range tables {
		for pattern, h := range t {
			if err := handle(mux, pattern, h); err != nil {
				return nil, err
			}
		}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Server", "lineout")
		if isWebSocket(r) { // the SDK may append any path (websdk-protocol 1)
			s.sockets.ServeHTTP(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	}), nil
}

// handle turns a clash of patterns into an error that names it.
func handle(mux *http.ServeMux, pattern string, h http.Handler) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("route %q: %v", pattern, r)
		}
	}()
	mux.Handle(pattern, h)
	return nil
}

func isWebSocket(r *http.Request) bool {
	return strings.EqualFold(r.Header.Get("Upgrade"), "websocket")
}

func (s *Server) health() error {
	if s.draining.Load() {
		return errors.New("shutting down")
	}
	return nil
}
