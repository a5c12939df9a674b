// Package outputs is the contract between the server and each way out of a
// stream. An output is one folder below this one and one line in the server's
// table; it brings its own settings, REST methods and HTTP routes.
package outputs

import (
	"context"
	"log/slog"
	"net/http"

	"lineout/codecs"
	"lineout/pipeline"
	"lineout/pipeline/fillvideo"
)

// Env is what the server lends to an output.
type Env struct {
	Streams *pipeline.Hub
	Codecs  *codecs.Table
	Log     *slog.Logger
	// Video says when sinks that must not run dry get generated pictures.
	Video fillvideo.Config
	// Version is the server's.
	Version string
}

// Method is one REST method. decode fills a struct from the request's body with
// loose types; a nil result is answered with an empty body (rest-api 1.3).
// Errors carry their class by package fault.
type Method func(ctx context.Context, decode func(into any) error) (any, error)

// Output is one running kind of output.
type Output interface {
	// Methods are served below /rest-api/, keyed like "push/startup".
	Methods() map[string]Method
	// Routes are served by every HTTP listener, keyed by http.ServeMux
	// pattern, like "/whep/{stream}".
	Routes() map[string]http.Handler
	// Metrics returns the values of this output's gauges and counters.
	Metrics() []Metric
	// Run owns whatever the output starts, until ctx ends.
	Run(ctx context.Context) error
}

// Metric is one sample for /metrics. Names end in _total for counters.
type Metric struct {
	Name, Help string
	Labels     map[string]string
	Value      float64
}

// Base gives an output the methods it does not need.
type Base struct{}

// Methods returns none.
func (Base) Methods() map[string]Method { return nil }

// Routes returns none.
func (Base) Routes() map[string]http.Handler { return nil }

// Metrics returns none.
func (Base) Metrics() []Metric { return nil }

// Run waits for the end.
func (Base) Run(ctx context.Context) error { <-ctx.Done(); return nil }

// Kind is an output's line in the server's table.
type Kind struct {
	Name string
	// Config returns a new pointer to the output's own settings struct, with
	// the field tags package configs reads; it is filled before New is called.
	Config func() any
	// New builds the output; it starts nothing. cfg is what Config returned.
	New func(env Env, cfg any) (Output, error)
}
