package calls

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	"lineout/calls/leg"
	"lineout/calls/words"
)

// Config are the settings of calls to us and of calls of users.
type Config struct {
	Routes      []string      `setting:"sip_routes" secret:"rtmpUrl" doc:"what becomes of calls to us, one entry each, the first that matches counts and without one a call is declined; conditions trunk= account= caller= called= (patterns with * and ?), then stream= (name with {callee} {caller} {callId} {trunk}), answer= (ask, or the seconds until the answer), ring= (180 or 183), record= hasAudio= hasVideo= (true or false), rtmpUrl= rtmpStream= appKey=, or reject= (a SIP status)"`
	AnswerLimit time.Duration `setting:"sip_answer_timeout" default:"60s" unit:"s" min:"1s" max:"170s" doc:"how long a call that a route leaves to the REST API may wait for /call/answer"`
	RingLimit   time.Duration `setting:"user_ringing_timeout" default:"60s" unit:"s" min:"1s" max:"170s" doc:"how long the devices of a user who is called may ring before the caller is told that nobody answers"`
	RecordAudio string        `setting:"record_call_audio" default:"mix" choices:"mix,dual,remote,local" doc:"what sip_record_stream records of calls of browsers and registered phones: mix (both parties in one channel), dual (the caller left, the callee right), remote (the other party), local (the user); with all but local go the other party's pictures"`
	UserCalls   int           `setting:"user_calls_max" default:"16" min:"1" max:"1000" doc:"calls that one account of a browser or a registered phone may have at a time, made and taken"`
}

// Validate reports every fault of the routes.
func (c *Config) Validate() error {
	_, err := parseRoutes(c.Routes)
	return err
}

// defaultStream is the stream's name where a route has none.
const defaultStream = "in-{callee}-{caller}-{callId}"

// maxDelay bounds how long a route may let a call ring.
const maxDelay = 120 * time.Second

// route says what becomes of the calls to us it matches.
type route struct {
	trunk, account, caller, called string // patterns; "" matches all
	stream                         string
	ask                            bool
	delay                          time.Duration
	ring                           int // 0, 180 or 183
	reject                         int // 0, or a SIP status
	terms                          leg.Terms
	rtmpURL, rtmpStream, appKey    string
	record                         bool
}

// parseRoutes reads the table; faults name the entry and its word.
func parseRoutes(entries []string) ([]route, error) {
	var out []route
	var errs []error
	for i, e := range entries {
		r, err := parseRoute(e)
		if err != nil {
			errs = append(errs, fmt.Errorf("sip_routes: entry %d: %w", i+1, err))
		}
		out = append(out, r)
	}
	return out, errors.Join(errs...)
}

var routeKeys = []string{"trunk", "account", "caller", "called", "stream", "answer", "ring", "record", "hasAudio", "hasVideo",
	"rtmpUrl", "rtmpStream", "appKey", "reject"}

func parseRoute(entry string) (r route, err error) {
	r = route{stream: defaultStream, ring: -1, terms: leg.Terms{SendAudio: true}}
	ws, err := words.Parse(entry, routeKeys...)
	if err != nil {
		return r, err
	}
	acts := false
	for _, w := range ws {
		switch w.Key {
		case "trunk", "account", "caller", "called":
			err = r.condition(w)
		case "reject":
			r.reject, err = status(w)
		default:
			acts = true
			err = r.act(w)
		}
		if err != nil {
			return r, err
		}
	}
	switch {
	case r.reject != 0 && acts:
		return r, errors.New("reject= stands beside words for calls that are taken")
	case (r.rtmpURL == "") != (r.rtmpStream == ""):
		return r, errors.New("rtmpUrl= and rtmpStream= belong together")
	}
	if r.ring < 0 { // nobody said
		r.ring = 0
		if r.ask || r.delay > 0 {
			r.ring = 180
		}
	}
	r.terms.ToRTMP = r.rtmpURL != ""
	return r, nil
}

func (r *route) condition(w words.Word) error {
	if _, err := path.Match(w.Value, ""); err != nil {
		return w.Fault("it is not a pattern: use * and ?, and [ ] in pairs")
	}
	*map[string]*string{"trunk": &r.trunk, "account": &r.account, "caller": &r.caller, "called": &r.called}[w.Key] = w.Value
	return nil
}

// act reads a word that says what to do.
func (r *route) act(w words.Word) (err error) {
	yes := func(to *bool) error {
		b, err := strconv.ParseBool(w.Value)
		if err != nil {
			return w.Fault("want true or false")
		}
		*to = b
		return nil
	}
	switch w.Key {
	case "stream":
		r.stream = w.Value
		return checkTemplate(w)
	case "answer":
		if r.ask = w.Value == "ask"; !r.ask {
			secs, err := strconv.ParseFloat(w.Value, 64)
			if r.delay = time.Duration(secs * float64(time.Second)); err != nil || !(secs >= 0) || secs > maxDelay.Seconds() {
				return w.Fault("want ask, or 0 to %v seconds", maxDelay.Seconds())
			}
		}
	case "ring":
		if r.ring, err = strconv.Atoi(w.Value); err != nil || r.ring != 0 && r.ring != 180 && r.ring != 183 {
			return w.Fault("want 180, 183 (sound and pictures before the answer), or 0 for neither")
		}
	case "record":
		return yes(&r.record)
	case "hasAudio":
		return yes(&r.terms.SendAudio)
	case "hasVideo":
		return yes(&r.terms.SendVideo)
	case "rtmpUrl":
		if u, err := url.Parse(w.Value); err != nil || !strings.HasPrefix(u.Scheme, "rtmp") || u.Host == "" {
			return w.Fault("it is not an RTMP address such as rtmp://server/live")
		}
		r.rtmpURL = w.Value
	case "rtmpStream":
		r.rtmpStream = w.Value
	case "appKey":
		r.appKey = w.Value
	}
	return nil
}

func status(w words.Word) (int, error) {
	n, err := strconv.Atoi(w.Value)
	if err != nil || n < 400 || n > 699 {
		return 0, w.Fault("want a SIP status from 400 to 699")
	}
	return n, nil
}

// places are what a stream name's template may hold.
func places(in *leg.Incoming) map[string]string {
	return map[string]string{"{callee}": in.Callee, "{caller}": in.Caller, "{callId}": in.CallID, "{trunk}": in.Trunk, "{account}": loginOf(in.Account)}
}

func checkTemplate(w words.Word) error {
	rest := w.Value
	for p := range places(&leg.Incoming{}) {
		rest = strings.ReplaceAll(rest, p, "")
	}
	if strings.ContainsAny(rest, "{}") {
		return w.Fault("it holds braces that are none of {callee} {caller} {callId} {trunk} {account}")
	}
	return nil
}

// name fills in the template. What callers choose may be anything, so all but
// letters, digits and a few signs become "_".
func (r *route) name(in *leg.Incoming) string {
	var pairs []string
	for p, v := range places(in) {
		pairs = append(pairs, p, strings.Map(harmless, v))
	}
	return strings.NewReplacer(pairs...).Replace(r.stream)
}

func harmless(c rune) rune {
	if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("-_.@+", c) {
		return c
	}
	return '_'
}

// loginOf is the login of an account, login@domain.
func loginOf(account string) string {
	login, _, _ := strings.Cut(account, "@")
	return login
}

// match says whether the route is for this call. A pattern for accounts without
// a domain is for logins.
func (r *route) match(in *leg.Incoming) bool {
	account := in.Account
	if !strings.Contains(r.account, "@") {
		account = loginOf(account)
	}
	for _, c := range []struct{ pattern, value string }{{r.trunk, in.Trunk}, {r.account, account}, {r.caller, in.Caller}, {r.called, in.Callee}} {
		if ok, _ := path.Match(c.pattern, c.value); c.pattern != "" && !ok {
			return false
		}
	}
	return true
}

// find is the first route for a call; nil declines it.
func findRoute(routes []route, in *leg.Incoming) *route {
	for i := range routes {
		if routes[i].match(in) {
			return &routes[i]
		}
	}
	return nil
}
