package sip

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"lineout/calls/trace"
)

const (
	// maxSources bounds the table sipgo keeps of addresses it heard from.
	maxSources = 4096
	maxHeaders = 256
	// settle is how long the end of reading is kept from sipgo, so that requests
	// it has just begun to handle find their connection in its table. One that
	// finds none makes it open a socket that is never closed.
	settle = 50 * time.Millisecond
)

// wire is the SIP socket as sipgo sees it. It bounds what strangers may cost:
// their rate, the number of headers, and the size of sipgo's address table,
// which grows with every source address until the reader is started anew. It
// also hands whole messages to the recorder and, at debug level, to the log,
// without secrets.
type wire struct {
	*net.UDPConn
	log   *slog.Logger
	rec   *trace.Recorder
	door  *admission
	limit atomic.Int64 // of sources

	// table is held for writing while sipgo has no reader on the socket;
	// senders hold it for reading, for a lookup and a datagram at most.
	table   sync.RWMutex
	reading bool // owned by the reading goroutine
	sources map[netip.AddrPort]struct{}
}

func newWire(c *net.UDPConn, door *admission, log *slog.Logger) *wire {
	w := &wire{UDPConn: c, log: log, door: door, sources: map[netip.AddrPort]struct{}{}}
	w.limit.Store(maxSources)
	w.table.Lock() // until the first read
	return w
}

// ReadFrom implements net.PacketConn.
func (w *wire) ReadFrom(b []byte) (int, net.Addr, error) {
	if !w.reading {
		w.reading = true
		w.table.Unlock()
	}
	for {
		n, src, err := w.ReadFromUDPAddrPort(b)
		if err != nil {
			if isRefused(err) {
				continue
			}
			time.Sleep(settle)
			return 0, nil, err
		}
		src = netip.AddrPortFrom(src.Addr().Unmap(), src.Port())
		if !w.admit(b[:n], src, time.Now()) {
			continue
		}
		if _, ok := w.sources[src]; !ok && len(w.sources) >= int(w.limit.Load()) {
			// sipgo forgets its table when its reader ends. This message is
			// lost, its sender repeats it.
			w.table.Lock()
			w.reading = false
			clear(w.sources)
			time.Sleep(settle)
			return 0, nil, net.ErrClosed
		}
		w.sources[src] = struct{}{}
		w.told(false, src, b[:n])
		return n, net.UDPAddrFromAddrPort(src), nil
	}
}

// admit drops what cannot be SIP for us before it is parsed.
func (w *wire) admit(b []byte, src netip.AddrPort, now time.Time) bool {
	head, _, _ := bytes.Cut(b, []byte("\r\n\r\n"))
	if bytes.Count(head, []byte("\n")) > maxHeaders {
		return false
	}
	return w.door.admit(src.Addr(), now)
}

// WriteTo implements net.PacketConn.
func (w *wire) WriteTo(b []byte, to net.Addr) (int, error) {
	if u, ok := to.(*net.UDPAddr); ok {
		a := u.AddrPort()
		w.told(true, netip.AddrPortFrom(a.Addr().Unmap(), a.Port()), b)
	}
	return w.UDPConn.WriteTo(b, to)
}

// told passes a datagram on to those who look in.
func (w *wire) told(sent bool, peer netip.AddrPort, b []byte) {
	if l, ok := w.LocalAddr().(*net.UDPAddr); ok {
		w.tell(sent, l.AddrPort(), peer, b)
	}
}

// tell passes a message on to those who look in.
func (w *wire) tell(sent bool, local, peer netip.AddrPort, b []byte) {
	w.rec.Message(sent, local, peer, b)
	if !w.log.Enabled(context.Background(), slog.LevelDebug) {
		return
	}
	if sent {
		w.log.Debug("SIP message sent", "to", peer, "message", trace.Mask(b))
	} else {
		w.log.Debug("SIP message received", "from", peer, "message", trace.Mask(b))
	}
}
