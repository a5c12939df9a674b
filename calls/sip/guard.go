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

// use takes over keys; a key that stays keeps its context.
func (g *guard) use(tx, rx crypto) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.tx == nil || g.txKey.suite != tx.suite || g.txKey.key != tx.key {
		c, err := tx.context()
		if err != nil {
			return err
		}
		g.tx, g.txKey = c, tx
	}
	if g.rx == nil || g.rxKey.suite != rx.suite || g.rxKey.key != rx.key {
		c, err := rx.context(srtp.SRTPReplayProtection(replayWindow), srtp.SRTCPReplayProtection(replayWindow))
		if err != nil {
			return err
		}
		g.rx, g.rxKey = c, rx
	}
	g.encrypts.Store(true)
	return nil
}

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

// answered takes the other side's answer to our offer of keys. A session that
// was encrypted stays so, and one that must be is not begun without.
func (g *guard) answered(offered []crypto, must bool, m *sdpMedia) error {
	for _, theirs := range m.cryptos {
		for _, ours := range offered {
			if ours.tag == theirs.tag && ours.suite == theirs.suite {
				return g.use(ours, theirs)
			}
		}
	}
	if _, on := g.own(); on || must || m.encrypted() {
		return errNotEncrypted
	}
	return nil
}

// offered takes an offer of the other side; the result is the line of our answer,
// which goes on with our key while the suite stays.
func (g *guard) offered(mode srtpMode, m *sdpMedia) ([]crypto, error) {
	own, on := g.own()
	if len(m.cryptos) == 0 || mode == srtpOff && !on && !m.encrypted() {
		if on || mode == srtpRequired || m.encrypted() {
			return nil, errNotEncrypted
		}
		return nil, nil
	}
	theirs := m.cryptos[0] // their order is their preference (RFC 4568 section 5.1.2)
	if !on || own.suite != theirs.suite {
		own = newCrypto(theirs.tag, theirs.suite)
	}
	own.tag = theirs.tag
	return []crypto{own}, g.use(own, theirs)
}
