// Package rest serves the operator's interface: POST /rest-api/<method> with
// JSON in and out, in the shapes of Web Call Server 5.2. The package owns the
// form of requests, answers and errors, who may ask, and the methods of calls
// and streams; outputs bring their own methods in a table.
package rest

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"lineout/api/fault"
	"lineout/calls/leg"
	"lineout/outputs"
	"lineout/pipeline"
)

// Config is the settings of the package.
type Config struct {
	Users       []string `setting:"rest_users" secret:"true" doc:"Users of the REST API as user:password; without any, only programs on this machine may use it."`
	DisableAuth bool     `setting:"disable_rest_auth" default:"false" doc:"True lets everybody who can reach a port use the REST API without a password; only for networks that are closed."`
	AllowOrigin string   `setting:"rest_access_control_allow_origin" default:"*" doc:"Web pages that may use the REST API: * for all, or a comma list of origins such as https://pbx.example."`
	AllowHeader string   `setting:"rest_access_control_allow_headers" default:"content-type,x-requested-with,authorization" doc:"Request headers those pages may send."`
	AllowMethod string   `setting:"rest_access_control_allow_methods" default:"GET,POST,OPTIONS" doc:"Request methods those pages may use."`
	Headers     string   `setting:"rest_access_control_headers" doc:"Further headers of every REST answer, as Name: value pairs separated by semicolons."`
	MaxBody     int      `setting:"rest_max_body" default:"1048576" min:"1024" max:"67108864" doc:"Largest request body in bytes."`
	DTMF        string   `setting:"dtmf" default:"rfc2833" choices:"rfc2833,info,info_relay" doc:"How digits are sent when a request does not say."`
}

// Deps are the parts of the server the API acts on.
type Deps struct {
	Calls Calls
	// Streams lists the published streams.
	Streams interface{ List() []*pipeline.Stream }
	// Registrations lists the SIP accounts that are registered or should be; may be nil.
	Registrations func() []leg.Registration
	// Phones lists the SIP phones that are registered at this server; may be nil.
	Phones func() []leg.Phone
	// Viewers lists those who play a stream; nil when no output has any.
	Viewers func() []Viewer
	// RecordName is the file a stream is being recorded to, "" for none; may be nil.
	RecordName func(mediaSessionID string) string
	// Outputs bring their own methods.
	Outputs []outputs.Output
	// Methods are those of other parts.
	Methods []map[string]outputs.Method
	Log     *slog.Logger
	// Now is the clock, time.Now when nil.
	Now func() time.Time
}

// API is the handler of /rest-api/ and of the older /RESTCall/.
type API struct {
	Deps
	cfg     Config
	methods map[string]outputs.Method
	handler http.Handler

	refusals *rate.Limiter // of log lines, so that a client in a loop cannot fill the log

	mu      sync.Mutex
	answers map[answerKey]uint64 // bounded by methods times statuses
}

type answerKey struct {
	method string
	status int
}

// Paths the API is served at.
const (
	prefix       = "/rest-api/"
	legacyPrefix = "/RESTCall/"
)

// text is a result that is answered as plain text instead of JSON.
type text string

// New builds the API. It fails if two parts bring the same method.
func New(cfg Config, deps Deps) (*API, error) {
	if deps.Now == nil {
		deps.Now = time.Now
	}
	if deps.Log == nil {
		deps.Log = slog.New(slog.DiscardHandler)
	}
	a := &API{Deps: deps, cfg: cfg, methods: map[string]outputs.Method{}, answers: map[answerKey]uint64{},
		refusals: rate.NewLimiter(10, 50)}
	tables := []map[string]outputs.Method{a.callMethods(), a.streamMethods()}
	for _, o := range deps.Outputs {
		tables = append(tables, o.Methods())
	}
	tables = append(tables, deps.Methods...)
	for _, t := range tables {
		for name, m := range t {
			if a.methods[prefix+name] != nil {
				return nil, fmt.Errorf("two parts of the server bring the REST method %q", name)
			}
			a.methods[prefix+name] = m
		}
	}
	for name, m := range a.legacyMethods() {
		a.methods[legacyPrefix+name] = m
	}
	a.handler = NewGuard(cfg, deps.Log).Wrap(http.HandlerFunc(a.serve))
	return a, nil
}

// Routes are the http.ServeMux patterns the API is served at. They are written
// segment by segment so that they can live beside "/{stream}/{file}".
func (a *API) Routes() map[string]http.Handler {
	return map[string]http.Handler{
		prefix + "{method}":                a,
		prefix + "{group}/{method}":        a,
		prefix + "{group}/{part}/{method}": a,
		legacyPrefix + "{method}":          a,
	}
}

// Methods lists the paths of all methods in alphabetical order.
func (a *API) Methods() []string { return slices.Sorted(maps.Keys(a.methods)) }

// ServeHTTP implements http.Handler.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.handler.ServeHTTP(w, r) }

// Metrics counts answers by method and status.
func (a *API) Metrics() []outputs.Metric {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := make([]outputs.Metric, 0, len(a.answers))
	for k, n := range a.answers {
		out = append(out, outputs.Metric{Name: "lineout_rest_answers_total", Help: "REST requests answered, by method and HTTP status.",
			Labels: map[string]string{"method": k.method, "status": strconv.Itoa(k.status)}, Value: float64(n)})
	}
	return out
}

// serve runs one request that was admitted.
func (a *API) serve(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimSuffix(r.URL.Path, "/")
	m := a.methods[path]
	status := http.StatusOK
	result, err := a.call(m, path, w, r)
	if err != nil {
		status = a.fail(w, r, err)
	} else {
		status = a.answer(w, r, result)
	}
	if m == nil {
		path = "unknown" // what clients make up must not become label values
	}
	a.mu.Lock()
	a.answers[answerKey{strings.TrimPrefix(path, prefix), status}]++
	a.mu.Unlock()
}

// call checks the request's form and runs the method.
func (a *API) call(m outputs.Method, path string, w http.ResponseWriter, r *http.Request) (result any, err error) {
	if m == nil {
		return nil, fault.New(fault.NotFound, "there is no method %s", r.URL.Path)
	}
	getable := strings.HasSuffix(path, "/find_all")
	if r.Method != http.MethodPost && !(getable && (r.Method == http.MethodGet || r.Method == http.MethodHead)) {
		allow := "POST, OPTIONS"
		if getable {
			allow = "GET, HEAD, POST, OPTIONS"
		}
		w.Header().Set("Allow", allow)
		return nil, fault.New(http.StatusMethodNotAllowed, "%s is not possible here; use %s", r.Method, allow)
	}
	body, err := readBody(w, r, int64(a.cfg.MaxBody))
	if err != nil {
		return nil, err
	}
	defer func() {
		if p := recover(); p != nil {
			a.Log.Error("REST method panicked", "path", path, "panic", p, "stack", string(debug.Stack()))
			result, err = nil, fault.New(fault.Internal, "the server met a fault of its own while it ran %s", path)
		}
	}()
	return m(r.Context(), body.decode)
}

// answer writes a result: nothing for void methods, because pages read any
// JSON body of those as a list of calls (rest-api 1.3).
func (a *API) answer(w http.ResponseWriter, r *http.Request, result any) int {
	var data []byte
	switch v := result.(type) {
	case nil:
	case text:
		w.Header().Set("Content-Type", "text/plain;charset=UTF-8")
		data = []byte(v)
	default:
		var err error
		if data, err = json.Marshal(v); err != nil {
			return a.fail(w, r, fmt.Errorf("encode the answer: %w", err))
		}
		w.Header().Set("Content-Type", "application/json;charset=UTF-8")
	}
	write(w, http.StatusOK, data)
	return http.StatusOK
}

// fail writes an error answer and tells the operator about those he can act on.
func (a *API) fail(w http.ResponseWriter, r *http.Request, err error) int {
	code := fault.CodeOf(err)
	level := slog.LevelInfo
	switch {
	case code == fault.NotFound:
		level = slog.LevelDebug // pages poll until they get one
	case code >= fault.Internal:
		level = slog.LevelWarn
	}
	if a.refusals.Allow() {
		a.Log.Log(context.WithoutCancel(r.Context()), level, "REST request refused", "path", r.URL.Path, "status", int(code), "cause", err)
	}
	writeError(w, r, err, a.Now())
	return int(code)
}

func write(w http.ResponseWriter, status int, data []byte) {
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(data) // the client is gone if this fails, there is nobody to tell
}
