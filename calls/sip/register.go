package sip

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	sipmsg "github.com/emiago/sipgo/sip"
)

const (
	registerTries  = maxChallenges + 2 // challenges, 423, and the one that works
	maxExpires     = 24 * time.Hour
	registerAnswer = 32 * time.Second
)

// account is what makes two registrations the same binding.
type account struct {
	login, auth, pass, domain string
	server                    sipServer
}

// account is the key of the party's binding.
func (p *party) account() account {
	return account{p.login, p.user, p.pass, p.domain, p.server}
}

// registrant says to an account's server where we are (RFC 3261 section 10.2).
// One goroutine uses it; server is for all.
type registrant struct {
	a       *Agent
	log     *slog.Logger
	key     account
	head    headers
	uri     sipmsg.Uri
	creds   *credentials
	line    string // id in the Contact, "" for none
	expires time.Duration

	servers []hop // the one in use first; nil before the first look-up
	friend  func()
	at      atomic.Pointer[hop] // the server that holds the binding
	first   atomic.Pointer[hop] // the one tried first
	asked   hop                 // one that may hold it: it did not answer (yet)
}

func (a *Agent) newRegistrant(key account, line string, expires time.Duration, servers []hop, log *slog.Logger) registering {
	r := &registrant{a: a, log: log, key: key, line: line, expires: expires, servers: servers, friend: func() {},
		creds: &credentials{user: key.auth, password: key.pass}, uri: sipmsg.Uri{Scheme: "sip", Host: key.domain}}
	aor := sipmsg.Uri{Scheme: "sip", User: key.login, Host: key.domain}
	r.head = headers{callID: sipmsg.GenerateTagN(24), userAgent: a.name, from: sipmsg.FromHeader{Address: aor}, to: sipmsg.ToHeader{Address: aor}}
	if key.server.loose {
		r.head.routes = []string{key.server.route()}
	}
	r.head.from.Params.Add("tag", sipmsg.GenerateTagN(16))
	return r
}

// refusedError is a final answer of a registrar.
type refusedError struct {
	code int
	text string
}

func (e *refusedError) Error() string { return e.text }

// server is the server of the binding, or the one that is tried first; invalid
// while none is known.
func (r *registrant) server() hop {
	if at := r.at.Load(); at != nil {
		return *at
	}
	if first := r.first.Load(); first != nil {
		return *first
	}
	return hop{}
}

// attempt registers, or renews, and says for how long.
func (r *registrant) attempt(ctx context.Context) (time.Duration, error) {
	if err := r.resolve(ctx); err != nil {
		return 0, err
	}
	r.first.Store(&r.servers[0])
	return r.anywhere(ctx)
}

// remove takes the binding away, if there may be one.
func (r *registrant) remove(ctx context.Context) {
	defer func() { r.friend() }()
	at := r.asked
	if holds := r.at.Load(); holds != nil {
		at = *holds
	}
	if !at.IsValid() {
		return
	}
	if _, err := r.send(ctx, at, 0); err != nil {
		r.log.Warn("SIP registration could not be removed", "error", err)
		return
	}
	r.log.Info("SIP unregistered", "server", at.String())
}

// resolve looks the server up, unless a call just has. The one in use is kept
// while it is among what is found; what cannot be looked up stays as it is.
func (r *registrant) resolve(ctx context.Context) error {
	if r.at.Load() == nil && r.servers != nil {
		return nil
	}
	k := r.key.server
	found, err := r.a.targets(ctx, k.host, k.port, k.transport)
	if err == nil {
		r.servers = preferring(found, r.server())
	}
	if r.servers == nil {
		return err
	}
	return nil
}

// preferring puts a server first if it is among the found ones.
func preferring(found []hop, used hop) []hop {
	out := slices.Clone(found)
	if i := slices.Index(out, used); i > 0 {
		copy(out[1:], out[:i])
		out[0] = used
	}
	return out
}

// anywhere registers at the first server that can be used (RFC 3263 section 4.3).
func (r *registrant) anywhere(ctx context.Context) (left time.Duration, err error) {
	for i, at := range r.servers {
		if left, err = r.send(ctx, at, r.expires); err == nil {
			if r.at.Swap(&at) == nil {
				r.log.Info("SIP registered", "server", at.String(), "expires", left)
			}
			r.asked = hop{}
			return left, nil
		}
		var refused *refusedError
		said := errors.As(err, &refused)
		if said {
			r.asked = hop{}
		}
		if ctx.Err() != nil || said && refused.code != 503 {
			return 0, err
		}
		if i < len(r.servers)-1 {
			r.log.Info("SIP server cannot be used, another one of its domain is tried", "server", at.String(), "error", err)
		}
	}
	return 0, err
}

// alive asks the server for a sign of life; any answer is one.
func (r *registrant) alive(ctx context.Context) bool {
	r.head.cseq++
	req := r.head.request(sipmsg.OPTIONS, r.uri)
	req.SetBody(nil)
	ctx, cancel := context.WithTimeout(ctx, registerAnswer)
	defer cancel()
	_, err := r.a.exchange(ctx, req, *r.at.Load())
	return err == nil
}

// place says in requests where we are, as the server sees it.
func (r *registrant) place(ctx context.Context, server hop) error {
	at, err := r.a.reach(ctx, server)
	if err != nil {
		return err
	}
	friend := r.a.befriend(server.addr.Addr())
	r.friend()
	r.friend = friend
	r.head.viaHost, r.head.viaPort = at.host, at.port
	r.head.contact = at.contact("sip", r.key.login, server.transport)
	if r.line != "" {
		r.head.contact.UriParams.Add(lineParam, r.line)
	}
	return nil
}

// send registers for a time and returns the one the registrar gives. 0 unregisters.
func (r *registrant) send(ctx context.Context, server hop, ask time.Duration) (time.Duration, error) {
	if err := r.place(ctx, server); err != nil {
		return 0, err
	}
	login := r.creds.begin()
	var res *sipmsg.Response
	for range registerTries {
		r.head.cseq++
		req := r.head.request(sipmsg.REGISTER, r.uri)
		expires := sipmsg.ExpiresHeader(ask / time.Second)
		req.AppendHeader(&expires)
		req.SetBody(nil)
		r.creds.sign(req)
		r.asked = server
		limited, cancel := context.WithTimeout(ctx, registerAnswer)
		var err error
		res, err = r.a.exchange(limited, req, server)
		cancel()
		if err != nil {
			return 0, fmt.Errorf("registering %s@%s: %w", r.key.login, r.key.domain, err)
		}
		if res.IsSuccess() {
			r.creds.accepted(res)
			return r.lifetime(res, ask), nil
		}
		again, err := login.retry(res)
		if err != nil {
			return 0, r.refused(server, res, err.Error())
		}
		if !again && res.StatusCode == 423 && minExpires(res) > ask {
			ask = minExpires(res)
			r.expires, again = ask, true
		}
		if !again {
			return 0, r.refused(server, res, why(res, r.key))
		}
	}
	return 0, r.refused(server, res, "the login was refused again and again")
}

// why is the reason of a refusal, with what it means for a login.
func why(res *sipmsg.Response, k account) string {
	switch {
	case !challenged(res):
		return plain(res.Reason)
	case k.pass == "":
		return plain(res.Reason) + ", a password is needed"
	}
	return plain(res.Reason) + ", the name or password is wrong"
}

func (r *registrant) refused(server hop, res *sipmsg.Response, why string) error {
	return &refusedError{res.StatusCode, fmt.Sprintf("the SIP server %v refused to register %s@%s: %d %s", server, r.key.login, r.key.domain, res.StatusCode, why)}
}

// lifetime is that of our binding: expires of our Contact, else the
// Expires header, else what was asked for (RFC 3261 section 10.2.4).
func (r *registrant) lifetime(res *sipmsg.Response, ask time.Duration) time.Duration {
	for _, h := range res.GetHeaders("Contact") {
		c, ok := h.(*sipmsg.ContactHeader)
		if !ok || c.Address.Host != r.head.contact.Host || c.Address.Port != r.head.contact.Port {
			continue
		}
		if line, has := c.Address.UriParams.Get(lineParam); has && line != r.line {
			continue // another account of ours, or another time's
		}
		if v, ok := c.Params.Get("expires"); ok {
			if d, ok := seconds(v); ok {
				return d
			}
		}
	}
	if h := res.GetHeader("Expires"); h != nil {
		if d, ok := seconds(h.Value()); ok {
			return d
		}
	}
	return ask
}

func minExpires(res *sipmsg.Response) time.Duration {
	if h := res.GetHeader("Min-Expires"); h != nil {
		d, _ := seconds(h.Value())
		return d
	}
	return 0
}

func seconds(s string) (time.Duration, bool) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 {
		return 0, false
	}
	return min(time.Duration(n)*time.Second, maxExpires), true
}
