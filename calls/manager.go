package calls

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"lineout/api/fault"
	"lineout/calls/leg"
	"lineout/calls/sound"
	"lineout/codecs"
	"lineout/pipeline"
	"lineout/pipeline/rtpin"
)

// Deps are the parts a call is made of.
type Deps struct {
	Dialer  leg.Dialer
	Streams *pipeline.Hub
	Codecs  *codecs.Table
	RTPIn   rtpin.Config
	// CheckPush says before anything is reserved whether such a push can be
	// started at all (400: a malformed or unresolvable address).
	CheckPush func(ctx context.Context, url, name string) error
	// StartPush starts the push of rtmpUrl and rtmpStream (S2-10), which ends with
	// its stream; onStatus gets one of the four values of S2-28. Nil: this build
	// pushes nowhere.
	StartPush func(s *pipeline.Stream, url, name string, onStatus func(string)) error
	// Observe is told of every change of a call, in order per call. It must not
	// block. Nil: nobody listens.
	Observe func(Info)
	// Digit is told of each digit the other party of a call dials and of the way
	// it came, in order per call. It must not block. Nil: nobody listens.
	Digit func(i Info, digit string, by leg.DTMF)
	// DigitsShown says that digits may be written down; else only that there was one.
	DigitsShown bool
	// Message is told of texts to us, in order per call, and says whether
	// anybody takes them. It must not block. Nil: nobody does.
	Message func(Message) bool
	// StartRecord records a stream; it does nothing if that is recorded already. Nil:
	// this build records nothing.
	StartRecord func(s *pipeline.Stream) error
	// Local says that a domain is this server's own. Nil: none is.
	Local func(domain string) bool
	// Known says that an account, login@domain, exists, whether or not it can be
	// reached now. Nil: any may.
	Known func(account string) bool
	// RecordUsers makes a stream of each call of a user, for a recorder that takes
	// every stream of a call (sip_record_stream).
	RecordUsers bool
	// Config says what becomes of calls to us, and of those of users.
	Config
	// EarlyMedia puts what comes before the answer into the call's stream (S3-9).
	EarlyMedia bool
	// Sounds are the files that can be played into calls.
	Sounds *sound.Folder
	// NodeID names this server in notifications.
	NodeID string
	Log    *slog.Logger
	// FailedLinger is how long a call that failed can still be found with its
	// status and SIP code; 0 means 10 s. A call that ended well is gone at once.
	FailedLinger time.Duration
	// HangupTimeout bounds how long a BYE may take; 0 means 3 s.
	HangupTimeout time.Duration
}

// target is an RTMP destination, which one call at a time may own (S2-7).
type target struct{ url, name string }

// Manager owns all calls. Safe for concurrent use.
type Manager struct {
	d      Deps
	routes []route

	mu      sync.Mutex
	calls   map[string]*call
	targets map[target]*call
	failed  map[string]failedCall
	ctx     context.Context // of Run; nil before it
	stopped bool
	wg      sync.WaitGroup // one count per call's goroutine

	started, established, rejected uint64

	lines           lines
	sounds          *pipeline.Hub // streams nobody else sees: of files, one while it plays, and of what is mixed
	soundCount      atomic.Uint64
	hidden          atomic.Uint64 // streams of sounds for mixes, as a name
	injectedStreams atomic.Uint64
}

type failedCall struct {
	info  Info
	until time.Time
}

// NewManager makes a manager; calls can be made once Run runs.
func NewManager(d Deps) *Manager {
	if d.FailedLinger <= 0 {
		d.FailedLinger = 10 * time.Second
	}
	if d.HangupTimeout <= 0 {
		d.HangupTimeout = 3 * time.Second
	}
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	if d.AnswerLimit <= 0 {
		d.AnswerLimit = time.Minute
	}
	if d.RingLimit <= 0 {
		d.RingLimit = time.Minute
	}
	if d.UserCalls <= 0 {
		d.UserCalls = 16
	}
	if d.Sounds == nil {
		d.Sounds = &sound.Folder{}
	}
	sounds := pipeline.NewHub(pipeline.HubConfig{Codecs: d.Codecs, Log: d.Log, FlushTimeout: detachTime})
	routes, _ := parseRoutes(d.Routes) // Validate has read them
	return &Manager{d: d, lines: lines{local: d.Local, of: map[string][]*leg.Line{}}, sounds: sounds, routes: routes, calls: map[string]*call{}, targets: map[target]*call{}, failed: map[string]failedCall{}}
}

// Run waits for ctx, then refuses new calls, says BYE to every call and waits
// for all of them to end.
func (m *Manager) Run(ctx context.Context) error {
	m.mu.Lock()
	m.ctx = context.WithoutCancel(ctx) // calls end by BYE, not by being cut off
	m.mu.Unlock()
	<-ctx.Done()
	m.mu.Lock()
	m.stopped = true
	live := make([]*call, 0, len(m.calls))
	for _, c := range m.calls {
		live = append(live, c)
	}
	m.mu.Unlock()
	if len(live) > 0 {
		m.d.Log.Info("hanging up all calls", "calls", len(live))
	}
	for _, c := range live {
		c.end(c.shutdown())
	}
	m.wg.Wait()
	return m.sounds.Run(ctx)
}

// Startup makes a call. It returns as soon as the names are reserved and the
// leg exists, before anything is dialled (S4-4). Its errors carry the class
// the REST API answers with (package fault).
func (m *Manager) Startup(ctx context.Context, r Request) error {
	if err := r.validate(); err != nil {
		return err
	}
	if r.RTMPURL != "" && m.d.CheckPush != nil {
		if err := m.d.CheckPush(ctx, r.RTMPURL, r.RTMPStream); err != nil {
			return err
		}
	}
	c, err := m.reserve(ctx, r)
	if err != nil {
		return err
	}
	if err := c.start(); err != nil {
		m.release(c)
		return err
	}
	return nil
}

// reserve claims the call's id, its RTMP target and its stream name, or none.
// What belongs to a call that ends is waited for, at most for HangupTimeout:
// that call is not listed any more, so its names are free for all one can see.
func (m *Manager) reserve(ctx context.Context, r Request) (*call, error) {
	ctx, cancel := context.WithTimeout(ctx, m.d.HangupTimeout)
	defer cancel()
	for {
		c, err := m.claim(r, nil, func(*call) {})
		if err == nil || fault.CodeOf(err) != fault.Conflict {
			return c, err
		}
		leaving := m.leaving(r)
		if leaving == nil {
			// It may have gone between the two looks.
			return m.claim(r, nil, func(*call) {})
		}
		select {
		case <-leaving.done:
		case <-ctx.Done():
			return nil, err
		}
	}
}

// leaving is a call that ends and holds what r asks for, nil if there is none.
func (m *Manager) leaving(r Request) *call {
	m.mu.Lock()
	defer m.mu.Unlock()
	name := cmp.Or(r.ToStream, r.CallID)
	for id, c := range m.calls {
		if (id == r.CallID || c == m.targets[target{r.RTMPURL, r.RTMPStream}] || cmp.Or(c.Info().StreamName, id) == name) && c.ending() {
			return c
		}
	}
	return nil
}

// claim is reserve; prepare completes the call before it can be seen. A user's
// call has no stream of its own.
func (m *Manager) claim(r Request, u *user, prepare func(*call)) (*call, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ctx == nil || m.stopped {
		return nil, fault.New(fault.Unavailable, "the server is shutting down and takes no new calls")
	}
	if m.calls[r.CallID] != nil {
		return nil, fault.New(fault.Conflict, "a call with callId %q exists already: choose another or end it first", r.CallID)
	}
	t := target{r.RTMPURL, r.RTMPStream}
	if r.RTMPURL != "" && m.targets[t] != nil {
		return nil, fault.New(fault.Conflict, "call %q is pushed to this rtmpUrl and rtmpStream already", m.targets[t].req.CallID)
	}
	c := newCall(m, r)
	if c.user = u; u != nil {
		if err := m.roomFor(u); err != nil {
			return nil, err
		}
	} else if err := c.claimStream(); err != nil {
		return nil, err
	}
	prepare(c)
	m.calls[r.CallID] = c
	if r.RTMPURL != "" {
		m.targets[t] = c
	}
	delete(m.failed, r.CallID)
	m.wg.Add(1)
	m.started++
	return c, nil
}

// release gives up what reserve claimed and ends the call's stream.
func (m *Manager) release(c *call) {
	if c.stream != nil {
		c.stream.Close(c.closeReason())
	}
	info := c.Info()
	m.mu.Lock()
	delete(m.calls, c.req.CallID)
	if t := (target{c.req.RTMPURL, c.req.RTMPStream}); m.targets[t] == c {
		delete(m.targets, t)
	}
	now := time.Now()
	for id, f := range m.failed {
		if now.After(f.until) {
			delete(m.failed, id)
		}
	}
	if c.listed() && (info.Status == Failed || info.Status == Busy) && len(m.failed) < 10000 {
		m.failed[info.CallID] = failedCall{info, now.Add(m.d.FailedLinger)}
	}
	m.mu.Unlock()
	m.wg.Done()
}

// Find lists the calls that match, oldest first. A call that was terminated
// is not listed; one that failed is for FailedLinger.
func (m *Manager) Find(f Filter) []Info {
	m.mu.Lock()
	var l []*call
	for _, c := range m.calls {
		l = append(l, c)
	}
	var infos []Info
	now := time.Now()
	for _, x := range m.failed {
		if now.Before(x.until) && f.match(x.info) {
			infos = append(infos, x.info)
		}
	}
	m.mu.Unlock()
	sort.Slice(l, func(i, j int) bool { return l[i].created.Before(l[j].created) })
	for _, c := range l {
		if info := c.Info(); c.listed() && f.match(info) {
			infos = append(infos, info)
		}
	}
	return infos
}

func (f Filter) match(i Info) bool {
	return (f.CallID == "" || f.CallID == i.CallID) && (f.Callee == "" || f.Callee == i.Callee) &&
		(f.RTMPURL == "" || f.RTMPURL == i.rtmpURL || f.RTMPURL == i.RTMPURL) && (f.Status == "" || f.Status == string(i.Status)) &&
		(f.StreamName == "" || f.StreamName == i.StreamName)
}

func (m *Manager) get(id string) (*call, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c := m.calls[id]; c != nil && !c.ending() {
		return c, nil
	}
	return nil, fault.New(fault.NotFound, "there is no call with callId %q", id)
}

// Terminate ends a call: CANCEL before the answer, BYE after it (S2-15). It
// waits for the call's end, at most for HangupTimeout.
func (m *Manager) Terminate(ctx context.Context, id string) error {
	c, err := m.get(id)
	if err != nil {
		return err
	}
	c.end(leg.Cause{Local: true, Text: "terminated by REST"})
	t := time.NewTimer(m.d.HangupTimeout)
	defer t.Stop()
	select {
	case <-c.done:
	case <-t.C:
	case <-ctx.Done():
	}
	return nil
}

// SendDTMF sends digits to the other party (S2-16). how is RFC2833 (also the
// default), INFO or INFO_RELAY.
func (m *Manager) SendDTMF(ctx context.Context, id, digits, how string) error {
	c, err := m.get(id)
	if err != nil {
		return err
	}
	d := leg.DTMF(how)
	switch d {
	case "":
		d = leg.RFC4733
	case leg.RFC4733, leg.INFO, leg.INFORelay:
	default:
		return fault.New(fault.BadRequest, "type %q is not one of RFC2833, INFO, INFO_RELAY", how)
	}
	if digits == "" || len(digits) > 64 {
		return fault.New(fault.BadRequest, "dtmf must hold 1 to 64 digits")
	}
	for _, ch := range digits {
		switch {
		case ch >= '0' && ch <= '9', ch == '*', ch == '#', ch >= 'A' && ch <= 'D', ch >= 'a' && ch <= 'd':
		default:
			return fault.New(fault.BadRequest, "dtmf %q holds a character that is no digit (0-9 * # A-D)", digits)
		}
	}
	if st := c.Info().Status; st != Established && st != Hold {
		return fault.New(fault.Internal, "call %q is %s: digits can be sent once it is ESTABLISHED", id, st)
	}
	if err := c.other().SendDTMF(ctx, digits, d); err != nil {
		var f *fault.Error
		if errors.As(err, &f) {
			return err
		}
		return fault.New(fault.Internal, "send dtmf on call %q: %w", id, err)
	}
	return nil
}

// Hold puts the other party of a call on hold, or takes it back (S1-5, RFC 3264
// section 8.4). It waits for the other party's consent.
func (m *Manager) Hold(ctx context.Context, id string, hold bool) error {
	c, err := m.get(id)
	if err != nil {
		return err
	}
	if st := c.Info().Status; st != Established && st != Hold {
		return fault.New(fault.Internal, "call %q is %s: it can be held once it is ESTABLISHED", id, st)
	}
	return c.hold(ctx, hold)
}

// Counts are totals since the start, and the number of calls now by status.
type Counts struct {
	Started, Established, Failed uint64
	// InjectedStreams and InjectedSounds count what was begun to be sent into calls.
	InjectedStreams, InjectedSounds uint64
	ByStatus                        map[Status]int
}

// Counts returns the manager's counters.
func (m *Manager) Counts() Counts {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := Counts{Started: m.started, Established: m.established, Failed: m.rejected,
		InjectedStreams: m.injectedStreams.Load(), InjectedSounds: m.soundCount.Load(), ByStatus: map[Status]int{}}
	for _, c := range m.calls {
		n.ByStatus[c.Info().Status]++
	}
	return n
}
