package sip

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/pion/srtp/v3"
)

// replayWindow is how many packets late one may be and still count (RFC 3711
// section 3.3.2 asks for 64 at least).
const replayWindow = 1024

// guard encrypts and decrypts one section. Contexts live as long as their key,
// over holds and changed addresses, so that roll-over counters run on (RFC 3711
// section 3.3.1). Safe for concurrent use.
type guard struct {
	mu           sync.Mutex
	tx, rx       *srtp.Context // nil: nothing is encrypted
	txKey, rxKey crypto
	encrypts     atomic.Bool
}

var errNotEncrypted = errors.New("the other side does not encrypt media, and this call must be (sip_srtp)")

// use takes over keys at once.
func (g *guard) use(tx, rx crypto) error {
	commit, err := g.plan(tx, rx)
	if err == nil {
		commit()
	}
	return err
}

// plan prepares keys that commit takes over, so that a description of which
// another section cannot be used changes nothing. A key that stays keeps its
// context. One plan at a time: changes of a session wait for each other.
func (g *guard) plan(tx, rx crypto) (commit func(), err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	send, receive := g.tx, g.rx
	if send == nil || g.txKey.suite != tx.suite || g.txKey.key != tx.key {
		if send, err = tx.context(); err != nil {
			return nil, err
		}
	}
	if receive == nil || g.rxKey.suite != rx.suite || g.rxKey.key != rx.key {
		if receive, err = rx.context(srtp.SRTPReplayProtection(replayWindow), srtp.SRTCPReplayProtection(replayWindow)); err != nil {
			return nil, err
		}
	}
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if send != g.tx {
			g.tx, g.txKey = send, tx
		}
		if receive != g.rx {
			g.rx, g.rxKey = receive, rx
		}
		g.encrypts.Store(true)
	}, nil
}

// inClear is the commit of a session without keys.
func inClear() {}

func (c crypto) context(options ...srtp.ContextOption) (*srtp.Context, error) {
	ctx, err := srtp.CreateContext([]byte(c.key[:c.suite.key]), []byte(c.key[c.suite.key:]), c.suite.profile, options...)
	if err != nil {
		return nil, fmt.Errorf("SRTP with %s: %w", c.suite.name, err)
	}
	return ctx, nil
}

// own is the key we send with.
func (g *guard) own() (crypto, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.txKey, g.tx != nil
}

// seal encrypts b in place where its capacity allows.
func (g *guard) seal(b []byte, control bool) ([]byte, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.tx == nil:
		return b, nil
	case control:
		return g.tx.EncryptRTCP(nil, b, nil)
	}
	return g.tx.EncryptRTP(b, b, nil)
}

// open checks and decrypts b in place. An error means that the packet is not of
// the other side, or was seen before.
func (g *guard) open(b []byte, control bool) ([]byte, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.rx == nil:
		return b, nil
	case control:
		return g.rx.DecryptRTCP(nil, b, nil)
	}
	return g.rx.DecryptRTP(b, b, nil)
}

// answered plans for the other side's answer to our offer of keys. A session that
// was encrypted stays so, and one that must be is not begun without.
func (g *guard) answered(offered []crypto, must bool, m *sdpMedia) (commit func(), err error) {
	for _, theirs := range m.cryptos {
		for _, ours := range offered {
			if ours.tag == theirs.tag && ours.suite == theirs.suite {
				return g.plan(ours, theirs)
			}
		}
	}
	if _, on := g.own(); on || must || m.encrypted() {
		return nil, errNotEncrypted
	}
	return inClear, nil
}

// offered plans for an offer of the other side; lines is that of our answer,
// which goes on with our key while the suite stays.
func (g *guard) offered(mode srtpMode, m *sdpMedia) (lines []crypto, commit func(), err error) {
	own, on := g.own()
	if len(m.cryptos) == 0 || mode == srtpOff && !on && !m.encrypted() {
		if on || mode == srtpRequired || m.encrypted() {
			return nil, nil, errNotEncrypted
		}
		return nil, inClear, nil
	}
	theirs := m.cryptos[0] // their order is their preference (RFC 4568 section 5.1.2)
	if !on || own.suite != theirs.suite {
		own = newCrypto(theirs.tag, theirs.suite)
	}
	own.tag = theirs.tag
	commit, err = g.plan(own, theirs)
	return []crypto{own}, commit, err
}
