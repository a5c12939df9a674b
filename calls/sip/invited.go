package sip

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	sipmsg "github.com/emiago/sipgo/sip"

	"lineout/calls/leg"
	"lineout/calls/limit"
	"lineout/calls/trace"
	"lineout/media"
)

const (
	// retryLater is what a caller is told when this side is full.
	retryLater = 5 * time.Second
	// strangerCalls are answers to INVITEs of one stranger, per second and at once.
	strangerCalls     = 1
	strangerCallBurst = 10
)

// TakeCalls has calls to us judged by r; without it all are declined.
func (a *Agent) TakeCalls(r leg.Receiver) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.receiver = r
}

func (a *Agent) taker() leg.Receiver {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.receiver
}

// invited judges an INVITE that begins a call (RFC 3261 section 8.2), cheapest
// checks first: nothing of a stranger's body is looked at. It runs on sipgo's
// goroutine of the request.
func (a *Agent) invited(req *sipmsg.Request, tx *sipmsg.ServerTx) {
	source := sourceOf(req).addr
	from, known := a.identify(req, source)
	if !known {
		var answered bool
		if from, known, answered = a.admitted(req, tx, source); answered {
			return
		}
	}
	if from.user != "" && (req.Recipient.User == "" || !a.ours(req.Recipient.Host, source)) {
		a.respond(req, tx, 404, "Not Found") // users reach others by this server, and none beyond it
		return
	}
	if a.taker() == nil || !known {
		a.turnAway(req, tx, source)
		return
	}
	if r, extra := a.unfit(req, from); r != nil {
		a.respond(req, tx, r.Code, r.Text, extra...)
		return
	}
	offer, r := a.lookAt(req)
	if r != nil {
		a.respond(req, tx, r.Code, r.Text)
		return
	}
	d := a.newInbound(req, tx, from, offer)
	if d.tooShort(req) {
		a.respond(req, tx, 422, "Session Interval Too Small", sipmsg.NewHeader("Min-SE", strconv.Itoa(int(a.cfg.MinSession/time.Second))))
		return
	}
	ctx, r := a.admitCall(d, source.Addr())
	if r != nil {
		a.log.Warn("SIP call to us is refused", "from", source, "code", r.Code, "cause", r.Why)
		a.respond(req, tx, r.Code, r.Text, retryAfter(r.Retry)...)
		return
	}
	go func() {
		defer a.work.Done()
		defer a.dismissCall(source.Addr())
		d.run(ctx)
	}()
}

// admitted says who sends a request by the login it comes with, that of a trunk
// or of a user. answered is true when the sender was asked for one, or refused.
func (a *Agent) admitted(req *sipmsg.Request, tx *sipmsg.ServerTx, source netip.AddrPort) (from origin, known, answered bool) {
	from, known, challenge, again := a.login(req, source)
	if login := userOf(req.From().Address); !known && a.servesUser(req, source) {
		switch id := a.prove(req, login, source); id {
		case proven:
			return origin{user: a.users.Account(login)}, true, false
		case impostor, tooMany:
			a.refuseLogin(req, tx, source, id)
			return origin{}, false, true
		default:
			challenge, again = true, again || id == staleYet
		}
	}
	if !known && challenge {
		a.challenge(req, tx, source, again)
		return origin{}, false, true
	}
	return from, known, false
}

// turnAway refuses a stranger, or says nothing to one who comes too often.
func (a *Agent) turnAway(req *sipmsg.Request, tx *sipmsg.ServerTx, source netip.AddrPort) {
	if !a.strangers.Take(limit.Host(source.Addr()), time.Now()) {
		tx.Terminate()
		return
	}
	if a.declined.Allow() {
		a.log.Info("SIP call to us is declined: it comes from no trunk (sip_trunks), for no account (sip_accounts) and from no user (users)", "from", source)
	}
	a.respond(req, tx, 603, "Decline")
}

// challenge asks for a login, within the same limit.
func (a *Agent) challenge(req *sipmsg.Request, tx *sipmsg.ServerTx, source netip.AddrPort, again bool) {
	if !a.welcome(source.Addr()) {
		tx.Terminate()
		return
	}
	a.respond(req, tx, 401, "Unauthorized", a.examiner.ask(source.Addr(), again, time.Now())...)
}

// welcome says whether a host may have one more answer.
func (a *Agent) welcome(host netip.Addr) bool {
	return a.isPeer(host) || a.strangers.Take(limit.Host(host), time.Now())
}

// unfit says what is wrong with a request to begin a call, by its head.
func (a *Agent) unfit(req *sipmsg.Request, from origin) (*leg.Refusal, []sipmsg.Header) {
	contact, _ := req.GetHeader("Contact").(*sipmsg.ContactHeader)
	switch {
	case tagOf(req.From().Params) == "":
		return &leg.Refusal{Code: 400, Text: "From Has No Tag"}, nil
	case checkCallID(req.CallID().Value()) != nil:
		return &leg.Refusal{Code: 400, Text: "Bad Call-ID"}, nil
	case contact == nil || !strings.EqualFold(contact.Address.Scheme, "sip") || checkHost(contact.Address.Host) != nil:
		return &leg.Refusal{Code: 400, Text: "Contact Is Missing"}, nil
	case !userOnly(req.Recipient.User) || !userOnly(userOf(req.From().Address)):
		return &leg.Refusal{Code: 400, Text: "Bad User"}, nil
	}
	if unknown := required(req); unknown != "" {
		return &leg.Refusal{Code: 420, Text: "Bad Extension"}, []sipmsg.Header{sipmsg.NewHeader("Unsupported", unknown)}
	}
	if len(req.Body()) > 0 && contentType(req) != "application/sdp" {
		return &leg.Refusal{Code: 415, Text: "Unsupported Media Type"}, []sipmsg.Header{sipmsg.NewHeader("Accept", "application/sdp")}
	}
	for _, w := range listed(req.GetHeaders("Content-Encoding")) {
		if w != "IDENTITY" {
			return &leg.Refusal{Code: 415, Text: "Unsupported Media Type"}, []sipmsg.Header{sipmsg.NewHeader("Accept-Encoding", "identity")}
		}
	}
	if d := a.find(req.CallID().Value()); d != nil {
		d.mu.Lock()
		defer d.mu.Unlock()
		if tagOf(req.From().Params) == tagOf(d.head.from.Params) {
			if from.account != nil && d.in == nil {
				return nil, nil // a spiral: one account of ours calls another one
			}
			return &leg.Refusal{Code: 482, Text: "Loop Detected"}, nil // a call of ours came back
		}
		// The same call on a second way, to another Contact of ours (section 8.2.2.2).
		return &leg.Refusal{Code: 482, Text: "Merged Request"}, nil
	}
	return nil, nil
}

// userOf is who an address names: a tel: URI has no user part.
func userOf(u sipmsg.Uri) string {
	if u.User == "" && strings.EqualFold(u.Scheme, "tel") {
		return u.Host
	}
	return u.User
}

// offered is what an offer holds that we could take.
type offered struct {
	any, audio, video bool
	tracks            []leg.TrackInfo
}

// lookAt reads the offer of an INVITE, if it has one.
func (a *Agent) lookAt(req *sipmsg.Request) (offered, *leg.Refusal) {
	if len(req.Body()) == 0 {
		return offered{}, nil
	}
	sdp, err := parseSDP(req.Body())
	if err != nil {
		a.log.Info("SIP call to us is refused: its session description cannot be read", "from", req.Source(), "error", err)
		return offered{}, &leg.Refusal{Code: 488, Text: "Not Acceptable Here"}
	}
	o := offered{any: true}
	for i := range sdp.media {
		m := &sdp.media[i]
		if !m.usable() || m.kind == 0 {
			continue
		}
		agreed, ok := agree(m, ofKind(a.toStream, m.kind), false)
		if !ok || m.kind == media.Video && !a.cfg.VideoEnabled || trackOf(o.tracks, m.kind) != nil {
			continue
		}
		o.audio, o.video = o.audio || m.kind == media.Audio, o.video || m.kind == media.Video
		o.tracks = append(o.tracks, agreed.track(m.kind, m.dir.sends(), m.dir.receives()))
	}
	if !o.audio && !o.video {
		a.log.Info("SIP call to us is refused: it offers no codec we know", "from", req.Source())
		return o, &leg.Refusal{Code: 488, Text: "Not Acceptable Here"}
	}
	return o, nil
}

// admitCall claims the Call-ID and a place among the calls to us.
func (a *Agent) admitCall(d *dialog, source netip.Addr) (ctx context.Context, r *leg.Refusal) {
	a.mu.Lock()
	defer a.mu.Unlock()
	full := func(format string, args ...any) (context.Context, *leg.Refusal) {
		return nil, &leg.Refusal{Code: 503, Text: "Service Unavailable", Why: fmt.Sprintf(format, args...), Retry: retryLater}
	}
	total := 0
	for _, n := range a.incoming {
		total += n
	}
	switch {
	case a.running == nil:
		return full("the server is stopping")
	case total >= a.cfg.IncomingMax:
		return full("%d calls to us are the limit (sip_incoming_max)", total)
	case a.incoming[source] >= a.cfg.IncomingPerSource:
		return full("%d calls from one address are the limit (sip_incoming_max_per_source)", a.incoming[source])
	case a.dialogs[d.callID] != nil:
		return nil, &leg.Refusal{Code: 482, Text: "Merged Request", Why: "the same call came on two ways at once"}
	}
	for _, other := range a.returned {
		if other.head.callID == d.head.callID && other.in.from.account == d.in.from.account {
			return nil, &leg.Refusal{Code: 482, Text: "Merged Request", Why: "the same call came on two ways at once"}
		}
	}
	a.incoming[source]++
	a.dialogs[d.callID] = d
	if d.callID != d.head.callID {
		a.returned[tagOf(d.head.from.Params)] = d
	}
	a.work.Add(1)
	return a.running, nil
}

func (a *Agent) dismissCall(source netip.Addr) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.incoming[source]--; a.incoming[source] <= 0 {
		delete(a.incoming, source)
	}
}

func retryAfter(d time.Duration) []sipmsg.Header {
	if d <= 0 {
		return nil
	}
	return []sipmsg.Header{sipmsg.NewHeader("Retry-After", strconv.Itoa(int((d+time.Second-1)/time.Second)))}
}

// incoming is what the receiver is told of a call.
func (d *dialog) incoming() leg.Incoming {
	in, req := d.in, d.in.req
	t := leg.Incoming{CallID: d.callID, Caller: userOf(req.From().Address), Callee: req.Recipient.User,
		DisplayName: plain(strings.Trim(req.From().DisplayName, `"`)), Trunk: in.from.trunk, User: in.from.user, Source: req.Source(),
		SDP: string(req.Body()), Message: trace.Mask([]byte(req.String())), HasAudio: in.offer.audio, HasVideo: in.offer.video, Tracks: in.offer.tracks}
	if r := in.from.account; r != nil {
		t.Account, t.Callee = r.name, r.key.login
	}
	return t
}
