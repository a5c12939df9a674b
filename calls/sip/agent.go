// Package sip is the SIP side of a server: a user agent that calls out over
// UDP, TCP or TLS (RFC 3261), registers accounts when asked, and gives each call as a
// leg.Leg with its RTP and RTCP as a leg.Media. Calls to us are taken from
// trunks and for accounts that the settings name.
package sip

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	sipmsg "github.com/emiago/sipgo/sip"
	"golang.org/x/time/rate"

	"lineout/api/fault"
	"lineout/calls/leg"
	"lineout/calls/limit"
	"lineout/calls/trace"
	"lineout/codecs"
)

// stopTime bounds how long Run waits, once told to end, for BYE and
// un-REGISTER to be answered.
const stopTime = 3 * time.Second

// Agent is one SIP user agent with one signalling port, and another for TLS. It implements
// leg.Dialer. New, then Listen, then Run; Dial works while Run runs.
type Agent struct {
	cfg      Config
	log      *slog.Logger
	table    *codecs.Table
	name     string // product
	activity time.Duration
	dtmf     leg.DTMF
	toStream []wireFormat // formats offered for streams
	toRTMP   []wireFormat // formats offered for calls that go to RTMP
	local    netip.Addr
	dns      names
	ports    *portPool
	phones   *keyMemory
	reinvite time.Duration // reinviteTime, but in tests
	declined *rate.Limiter // of log lines: scanners of the Internet call all day

	users    Users // nil: this server has none
	located  *locations
	trunks   []*trunk
	accounts []*standing
	// newRegistering is newRegistrant, but in tests.
	newRegistering func(key account, line string, expires time.Duration, servers []hop, log *slog.Logger) registering
	strangers      *limit.Buckets[netip.Addr] // INVITEs and texts of each that are answered
	requests       *limit.Buckets[netip.Addr] // outside of dialogs, of anybody
	examiner       *examiner

	trace     *trace.Recorder
	wire      *wire
	streams   *streams
	tcp, tls  net.Listener // nil without
	tlsServer *tls.Config
	tpl       *sipmsg.TransportLayer
	txl       *sipmsg.TransactionLayer

	mu       sync.Mutex
	running  context.Context    // life of dialogs; nil unless Run runs and takes calls
	serving  context.Context    // ends when Run is told to
	dialogs  map[string]*dialog // by the Call-ID or, of a call of ours that came back, a name of our own
	returned map[string]*dialog // those that came back, by the tag of our side
	regs     map[account]*registration
	peers    map[netip.Addr]int // hosts of present calls, by number of uses
	receiver leg.Receiver       // of calls to us; nil: there are none
	reader   leg.TextReceiver   // of messages to us; nil: there are none
	ackTime  time.Duration      // timerH, but in tests
	// incoming counts the calls to us by the address they came from.
	incoming map[netip.Addr]int
	texts    int // messages outside of calls that are under way
	work     sync.WaitGroup
}

// New checks the settings and prepares an agent. It opens nothing.
func New(cfg Config, table *codecs.Table, log *slog.Logger) (*Agent, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	a := &Agent{cfg: cfg, log: log, dns: net.DefaultResolver, table: table, name: product(cfg.UserAgent),
		phones: newKeyMemory(), reinvite: reinviteTime, declined: rate.NewLimiter(rate.Every(time.Minute), 5),
		local: netip.IPv4Unspecified(), dialogs: map[string]*dialog{}, returned: map[string]*dialog{}, regs: map[account]*registration{}, peers: map[netip.Addr]int{},
		incoming: map[netip.Addr]int{}, ackTime: timerH, strangers: limit.New[netip.Addr](strangerCalls, strangerCallBurst),
		requests: limit.New[netip.Addr](requestRate, requestBurst)}
	a.trunks, _ = parseTrunks(cfg.Trunks) // Validate has read these two
	a.accounts, _ = parseAccounts(&cfg)
	a.newRegistering = a.newRegistrant
	a.examiner = newExaminer(cmp.Or(cfg.Domain, "lineout"), cfg.DigestAlgorithms)
	a.activity, _ = parseActivity(cfg.RTPActivity)
	a.dtmf, _ = parseDTMF(cfg.DTMF)
	if cfg.IPLocal != "" {
		a.local = netip.MustParseAddr(cfg.IPLocal).Unmap()
	}
	var unknown []string
	a.toStream, unknown = selectFormats(cfg.Codecs, table, cfg.CodecsExcludeSIP)
	a.toRTMP, _ = selectFormats(cfg.Codecs, table, cfg.CodecsExcludeSIP, cfg.CodecsExcludeSIPRTMP)
	sayLeftOut(log, unknown, table)
	if len(a.toStream) == 0 || len(a.toRTMP) == 0 {
		return nil, errors.New("codecs, codecs_exclude_sip and codecs_exclude_sip_rtmp leave no codec to offer in SIP calls")
	}
	a.ports = newPortPool(a.local, cfg.MediaPortFrom, cfg.MediaPortTo)
	return a, nil
}

// Trace has messages and packets recorded. It comes before Listen.
func (a *Agent) Trace(r *trace.Recorder) { a.trace = r }

// RTPActivity is how long a call may be without media, 0 for ever
// (rtp_activity_detecting).
func (a *Agent) RTPActivity() time.Duration { return a.activity }

// Port is the bound SIP port, 0 before Listen.
func (a *Agent) Port() int {
	if a.wire == nil {
		return 0
	}
	return a.wire.LocalAddr().(*net.UDPAddr).Port
}

// Run serves the SIP port until ctx ends; then it hangs up all calls,
// unregisters, and returns when everything it started has ended.
func (a *Agent) Run(ctx context.Context) error {
	if a.wire == nil {
		return errors.New("sip: Listen must come before Run")
	}
	life, kill := context.WithCancel(context.WithoutCancel(ctx))
	defer kill()
	serving, stopServing := context.WithCancel(ctx)
	defer stopServing()
	a.mu.Lock()
	a.running, a.serving = life, serving
	a.mu.Unlock()
	for _, s := range a.accounts {
		if _, _, _, err := a.keep(serving, s.party.account(), s.expires, &keeper{standing: true}); err != nil {
			return err
		}
	}
	served := make(chan error, 1)
	stop := make(chan struct{})
	go func() { served <- a.serve(stop) }()
	streamed := a.serveStreams(stop)
	if a.located != nil {
		a.work.Go(func() { a.tendPhones(serving) })
	}
	a.log.Info("SIP listens", "address", a.wire.LocalAddr().String(), "tcp", a.tcp != nil, "tls_port", portOf(a.tls))
	var err error
	select {
	case <-ctx.Done():
	case err = <-served:
		served <- nil
	}
	stopServing()
	a.mu.Lock()
	a.running = nil
	for _, d := range a.dialogs {
		c := leg.Cause{Text: "the server is stopping", Local: true, Kind: leg.Normal}
		if d.in != nil && !d.established() {
			c.Code = 503 // the caller may try another server
		}
		d.hangup(c)
	}
	a.mu.Unlock()
	// Dialogs outlive ctx by the time their BYE or CANCEL may take.
	timer := time.AfterFunc(stopTime, kill)
	defer timer.Stop()
	a.work.Wait()
	close(stop)
	a.wire.Close()
	<-served
	a.closeListeners()
	a.streams.close()
	streamed.Wait()
	a.txl.Close()
	a.tpl.Close()
	return err
}

// serve lets sipgo read the socket, again and again as wire ends its reader.
func (a *Agent) serve(stop <-chan struct{}) error {
	for {
		err := a.tpl.ServeUDP(a.wire)
		select {
		case <-stop:
			return nil
		default:
		}
		if err != nil || a.wire.reading {
			// The reader ended by itself: the socket is gone.
			return fmt.Errorf("the SIP socket failed: %w", errors.Join(err, net.ErrClosed))
		}
	}
}

// Dial implements leg.Dialer. Wrong input is fault.BadRequest, a full media
// port range fault.Unavailable; everything later comes as events.
func (a *Agent) Dial(_ context.Context, r leg.Request) (leg.Leg, error) {
	p, err := newParty(r, &a.cfg)
	if err != nil {
		return nil, err
	}
	return a.begin(a.newDialog(r, p))
}

// begin has a dialog call.
func (a *Agent) begin(d *dialog) (leg.Leg, error) {
	ctx, err := a.claim(d)
	if err != nil {
		return nil, err
	}
	if err := d.openMedia(); err != nil {
		a.forget(d)
		a.work.Done()
		return nil, err
	}
	d.media.trace = a.trace.Open(d.callID)
	if d.req.Register {
		d.media.trace.Account(d.party.login + "@" + d.party.domain)
	}
	go func() {
		defer a.work.Done()
		d.run(ctx)
	}()
	return d, nil
}

// claim takes the Call-ID and a place in what Run waits for.
func (a *Agent) claim(d *dialog) (context.Context, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.running == nil {
		return nil, fault.New(fault.Unavailable, "the SIP side is not running")
	}
	if a.dialogs[d.callID] != nil {
		return nil, fault.New(fault.Conflict, "a SIP call with the Call-ID %s exists", d.callID)
	}
	a.dialogs[d.callID] = d
	a.work.Add(1)
	return a.running, nil
}

func (a *Agent) forget(d *dialog) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if tag := tagOf(d.head.from.Params); a.returned[tag] == d {
		delete(a.returned, tag)
	}
	if a.dialogs[d.callID] == d {
		delete(a.dialogs, d.callID)
	}
}

func (a *Agent) find(callID string) *dialog {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.dialogs[callID]
}

// dialogOf is the dialog a request belongs to, nil if there is none.
func (a *Agent) dialogOf(req *sipmsg.Request) *dialog {
	if d := a.find(req.CallID().Value()); d != nil && d.matches(req) {
		return d
	}
	if d := a.cameBack(req.CallID().Value(), tagOf(req.To().Params)); d != nil && d.matches(req) {
		return d
	}
	return nil
}

// cameBack finds the second dialog of a call that began here and has come back,
// by the tag of our side.
func (a *Agent) cameBack(callID, tag string) *dialog {
	a.mu.Lock()
	defer a.mu.Unlock()
	if d := a.returned[tag]; d != nil && d.head.callID == callID {
		return d
	}
	return nil
}

func (a *Agent) isPeer(ip netip.Addr) bool {
	if a.isTrunk(ip) {
		return true
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.peers[ip] > 0
}

// befriend exempts a host from the limit on strangers; the result undoes it.
func (a *Agent) befriend(ip netip.Addr) func() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.peers[ip]++
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.peers[ip]--; a.peers[ip] <= 0 {
			delete(a.peers, ip)
		}
	}
}

// exchange sends a request and waits for its final answer.
func (a *Agent) exchange(ctx context.Context, req *sipmsg.Request, dest hop) (*sipmsg.Response, error) {
	tx, err := a.transact(req, dest)
	if err != nil {
		return nil, err
	}
	defer tx.Terminate()
	for {
		select {
		case res := <-tx.Responses():
			if !res.IsProvisional() && saneResponse(res) {
				return res, nil
			}
		case <-tx.Done():
			return nil, fmt.Errorf("%s to %v was not answered: %w", req.Method, dest, tx.Err())
		case <-ctx.Done():
			return nil, fmt.Errorf("%s to %v was not answered: %w", req.Method, dest, ctx.Err())
		}
	}
}
