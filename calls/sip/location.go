package sip

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	sipmsg "github.com/emiago/sipgo/sip"

	"lineout/calls/leg"
)

const (
	// maxPhones bounds the phones of one account, maxLocations those of all.
	maxPhones    = 8
	maxLocations = 20_000
	// maxContact bounds a Contact's address in bytes.
	maxContact = 512
)

// location is where a phone of a user is: a binding of RFC 3261 section 10.
// Guarded by the mutex of its table, but for what never changes.
type location struct {
	login  string
	line   string // key among the account's: the device, or the address without one
	domain string // the one the phone uses for us

	uri    sipmsg.Uri
	flow   hop // where it registered from
	callID string
	cseq   uint32
	q      string
	agent  string
	until  time.Time

	detach func()
	friend func() // ends that its host is no stranger
}

// locations are the phones that are registered here. Safe for concurrent use.
type locations struct {
	board    leg.Switchboard
	befriend func(netip.Addr) func()

	mu    sync.Mutex
	of    map[string][]*location // by login
	count int
}

func newLocations(board leg.Switchboard, befriend func(netip.Addr) func()) *locations {
	return &locations{board: board, befriend: befriend, of: map[string][]*location{}}
}

// wish is what a REGISTER asks for one Contact.
type wish struct {
	uri     sipmsg.Uri
	line    string
	q       string
	expires time.Duration // 0 takes the binding away
}

// order is a whole REGISTER, judged.
type order struct {
	login, domain string
	flow          func(sipmsg.Uri) hop
	callID        string
	cseq          uint32
	agent         string
	all           bool // Contact: *
	wishes        []wish
	line          func(*location) leg.Line
	account       string
}

// apply carries out an order as a whole or not at all (RFC 3261 section 10.3)
// and lists the account's bindings. A code other than 0 refuses it.
func (t *locations) apply(o *order, now time.Time) (list []location, code int, reason string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.expire(o.login, now)
	old := t.of[o.login]
	after := slices.Clone(old)
	for _, l := range old {
		// Item 7: one that was overtaken changes nothing.
		if l.callID == o.callID && o.cseq <= l.cseq && (o.all || slices.ContainsFunc(o.wishes, func(w wish) bool { return w.line == l.line })) {
			return nil, 500, "CSeq Out Of Order"
		}
	}
	if o.all {
		after = nil
	}
	var fresh []*location
	changed := map[*location]wish{}
	for _, w := range o.wishes {
		i := slices.IndexFunc(after, func(l *location) bool { return l.line == w.line })
		switch {
		case w.expires == 0 && i >= 0:
			after = slices.Delete(after, i, i+1)
		case w.expires == 0:
		case i >= 0:
			changed[after[i]] = w
		default:
			l := &location{login: o.login, domain: o.domain, line: w.line}
			changed[l] = w
			fresh = append(fresh, l)
			after = append(after, l)
		}
	}
	if len(after) > maxPhones || t.count+len(after)-len(old) > maxLocations {
		return nil, 503, "Too Many Phones Are Registered"
	}
	for _, l := range old {
		if !slices.Contains(after, l) {
			l.end()
		}
	}
	for l, w := range changed {
		before := l.friend
		l.uri, l.q, l.until, l.flow = w.uri, w.q, now.Add(w.expires), o.flow(w.uri)
		l.callID, l.cseq, l.agent = o.callID, o.cseq, o.agent
		if l.friend = t.befriend(l.flow.addr.Addr()); before != nil {
			before()
		}
	}
	for _, l := range fresh {
		l.detach = t.board.Attach(o.account, o.line(l))
	}
	t.set(o.login, after)
	for _, l := range after {
		list = append(list, *l)
	}
	return list, 0, ""
}

// set replaces an account's bindings. The caller holds mu.
func (t *locations) set(login string, to []*location) {
	t.count += len(to) - len(t.of[login])
	if len(to) == 0 {
		delete(t.of, login)
		return
	}
	t.of[login] = to
}

// expire takes away what has lapsed. The caller holds mu.
func (t *locations) expire(login string, now time.Time) {
	t.drop(login, func(l *location) bool { return !now.Before(l.until) })
}

func (t *locations) drop(login string, gone func(*location) bool) {
	t.set(login, slices.DeleteFunc(slices.Clone(t.of[login]), func(l *location) bool {
		if !gone(l) {
			return false
		}
		l.end()
		return true
	}))
}

// sweep takes away all that has lapsed; with over everything.
func (t *locations) sweep(now time.Time, over bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for login := range t.of {
		t.drop(login, func(l *location) bool { return over || !now.Before(l.until) })
	}
}

// find is a location as it is now; false once it has gone.
func (t *locations) find(l *location, now time.Time) (location, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !slices.Contains(t.of[l.login], l) || !now.Before(l.until) {
		return location{}, false
	}
	return *l, true
}

// end gives up what the binding holds.
func (l *location) end() {
	l.detach()
	l.friend()
}

// list is everything, by login.
func (t *locations) list(now time.Time) []location {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []location
	for _, of := range t.of {
		for _, l := range of {
			if now.Before(l.until) {
				out = append(out, *l)
			}
		}
	}
	slices.SortFunc(out, func(a, b location) int {
		if c := strings.Compare(a.login, b.login); c != 0 {
			return c
		}
		return strings.Compare(a.line, b.line)
	})
	return out
}

// contact is a binding as an answer lists it.
func (l *location) contact(now time.Time) sipmsg.Header {
	v := "<" + l.uri.String() + ">"
	if l.q != "" {
		v += ";q=" + l.q
	}
	return sipmsg.NewHeader("Contact", v+";expires="+strconv.Itoa(int(max(l.until.Sub(now), 0)/time.Second)))
}
