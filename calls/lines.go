package calls

import (
	"slices"
	"strings"
	"sync"

	"lineout/calls/leg"
)

// maxLines bounds how many devices one call rings. Of more the newest have it.
const maxLines = 16

// lines are the devices of each account.
type lines struct {
	// local says which domains are those of this server; they are one.
	local func(domain string) bool

	mu sync.Mutex
	of map[string][]*leg.Line
}

// key makes one name of those that mean the same account: login@domain.
func (l *lines) key(account string) string {
	user, domain, _ := strings.Cut(account, "@")
	domain = strings.ToLower(domain)
	if l.local != nil && l.local(domain) {
		domain = ""
	}
	return user + "@" + domain
}

func (l *lines) attach(account string, x leg.Line) (detach func()) {
	k, p := l.key(account), &x
	l.mu.Lock()
	defer l.mu.Unlock()
	l.of[k] = append(l.of[k], p)
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		rest := slices.DeleteFunc(l.of[k], func(q *leg.Line) bool { return q == p })
		if l.of[k] = rest; len(rest) == 0 {
			delete(l.of, k)
		}
	}
}

// find lists the lines to ring for an account.
func (l *lines) find(account string) []leg.Line {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.of[l.key(account)]
	var out []leg.Line
	for _, p := range all[max(len(all)-maxLines, 0):] {
		out = append(out, *p)
	}
	return out
}
