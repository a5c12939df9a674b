package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"time"
)

// part is something that runs until told to stop.
type part struct {
	name string
	run  func(context.Context) error
	stop context.CancelFunc
	done chan struct{}
	// leans is the part this one waits for, stopped too when that takes long.
	leans *part
}

// leanTime is how long calls may take to end by themselves. A phone that rings
// and does not answer CANCEL would hold a stop for longer than container
// runtimes wait before they kill (10 s).
const leanTime = 3 * time.Second

// Run serves until ctx ends or a part fails, then stops in the order that loses
// nothing: new work is refused, calls are hung up, streams end and their sinks
// finish, then the outputs, the SIP side and the HTTP ports. All of it together
// may take ShutdownTimeout.
func (s *Server) Run(ctx context.Context) error {
	failed := make(chan error, 16)
	parts := s.parts()
	for _, p := range parts {
		pctx, stop := context.WithCancel(context.Background())
		p.stop, p.done = stop, make(chan struct{})
		go func() {
			defer close(p.done)
			if err := p.run(pctx); err != nil && pctx.Err() == nil {
				failed <- fmt.Errorf("%s: %w", p.name, err)
			}
		}()
	}
	s.log.Info("server runs", "version", s.settings.Version)
	var cause error
	select {
	case <-ctx.Done():
		s.log.Info("stopping")
	case cause = <-failed:
	}
	return errors.Join(cause, s.shutdown(parts))
}

// shutdown stops the parts in the order of the list.
func (s *Server) shutdown(parts []*part) error {
	s.draining.Store(true)
	limit := time.NewTimer(s.settings.Server.ShutdownTimeout)
	defer limit.Stop()
	var late error
	for _, p := range parts {
		p.stop()
		if late != nil {
			continue
		}
		if p.leans != nil {
			stop := time.AfterFunc(min(leanTime, s.settings.Server.ShutdownTimeout/4), p.leans.stop)
			defer stop.Stop()
		}
		select {
		case <-p.done:
		case <-limit.C:
			late = fmt.Errorf("%s did not stop within shutdown_timeout (%s)", p.name, s.settings.Server.ShutdownTimeout)
		}
	}
	return late
}

// parts lists everything that runs, in the order it is stopped.
func (s *Server) parts() []*part {
	sip := &part{name: "sip", run: s.agent.Run}
	ps := []*part{
		{name: "calls", run: s.calls.Run, leans: sip},
		{name: "websocket sessions", run: s.sockets.Run},
		{name: "publishers", run: s.publishing.Run},
		{name: "browsers", run: s.rtc.Run},
		{name: "streams", run: s.hub.Run},
	}
	for _, o := range s.outputs {
		ps = append(ps, &part{name: fmt.Sprintf("%T", o), run: o.Run})
	}
	ps = append(ps, sip, &part{name: "users", run: s.users.Run}, &part{name: "notifications", run: s.hooks.Run})
	for _, l := range s.listeners {
		ps = append(ps, &part{name: l.setting, run: func(ctx context.Context) error { return s.serve(ctx, l) }})
	}
	return ps
}

// serve runs one HTTP port.
func (s *Server) serve(ctx context.Context, l listener) error {
	srv := httpServer(s.handler, slog.NewLogLogger(s.log.Handler(), slog.LevelDebug))
	served := make(chan error, 1)
	if l.tls {
		srv.TLSConfig, srv.TLSNextProto = s.tls.config(), map[string]func(*http.Server, *tls.Conn, http.Handler){}
		go func() { served <- srv.ServeTLS(patientListener{l}, "", "") }()
	} else {
		go func() { served <- srv.Serve(patientListener{l}) }()
	}
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	// Held requests (a playlist, a WHEP offer) have ended with their streams;
	// what is left gets a moment.
	grace, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := srv.Shutdown(grace); err != nil {
		_ = srv.Close()
	}
	<-served
	return nil
}

// httpServer bounds what a client can hold by doing nothing; see slow.go for
// bodies and answers.
func httpServer(h http.Handler, errors *log.Logger) *http.Server {
	return &http.Server{Handler: limitBodies(h), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 64 << 10, ErrorLog: errors}
}

// Banner is what a person who started the server reads first.
func (s *Server) Banner() string {
	host := s.settings.Server.HTTPBind
	if host == "" || net.ParseIP(host).IsUnspecified() {
		host = "127.0.0.1"
	}
	b := "lineout " + s.settings.Version + "\n"
	rest := ""
	for _, l := range s.listeners {
		scheme := "http"
		if strings.HasPrefix(l.setting, "ws") {
			scheme = "ws"
		}
		if l.tls {
			scheme += "s"
		}
		url := scheme + "://" + net.JoinHostPort(host, fmt.Sprint(l.port))
		if rest == "" {
			rest = strings.Replace(url, "ws", "http", 1)
		}
		b += fmt.Sprintf("  %-28s %s\n", url, l.use)
	}
	b += fmt.Sprintf("  %-28s SIP\n", fmt.Sprintf("udp port %d", s.agent.Port()))
	b += fmt.Sprintf(`Call a phone and watch it at %s/player?stream=call_stream1 :
  curl -d '{"callId":"c1","callee":"10005","toStream":"call_stream1","hasAudio":"true","hasVideo":"true",
    "sipLogin":"10006","sipPassword":"PASSWORD","sipDomain":"PBX","sipPort":"5060","sipRegisterRequired":"false"}' \
    -H 'Content-Type: application/json' %s/rest-api/call/startup
`, rest, rest)
	return b
}

// profiles serves runtime profiles to those the guard lets through.
func profiles(guard func(http.Handler) http.Handler) map[string]http.Handler {
	return map[string]http.Handler{
		"/debug/pprof/{$}":     guard(http.HandlerFunc(pprof.Index)),
		"/debug/pprof/{name}":  guard(http.HandlerFunc(pprof.Index)),
		"/debug/pprof/profile": guard(http.HandlerFunc(pprof.Profile)),
		"/debug/pprof/symbol":  guard(http.HandlerFunc(pprof.Symbol)),
		"/debug/pprof/trace":   guard(http.HandlerFunc(pprof.Trace)),
	}
}
