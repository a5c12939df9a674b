package publish

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"lineout/api/fault"
	"lineout/calls/leg"
	"lineout/calls/rtc"
	"lineout/calls/tap"
	"lineout/pipeline"
)

const (
	hangupTime = 3 * time.Second
	// fileTime bounds the wait for a recording to be complete.
	fileTime = 20 * time.Second
)

// Publication is one stream on its way in. It ends by itself when the publisher
// goes or its stream is ended; Stop ends it from here.
type Publication struct {
	s        *Service
	stream   *pipeline.Stream
	log      *slog.Logger
	peer     Peer
	finished func(ctx context.Context) (string, error) // of the recording, nil if there is none
	ufrag    string                                    // of the publisher's offer

	started chan struct{}
	begin   sync.Once

	stop     chan struct{}
	stopOnce sync.Once
	wish     string // why Stop was called; read after stop is closed

	ended  chan struct{} // closed when reason and record are set
	reason string
	record string
}

func newPublication(s *Service, st *pipeline.Stream, r Request) *Publication {
	return &Publication{s: s, stream: st, ufrag: ufrag(r.Offer), log: s.log.With("stream", st.Name(), "publication", st.ID()),
		started: make(chan struct{}), stop: make(chan struct{}), ended: make(chan struct{})}
}

// ID is the stream's, the publisher's mediaSessionId.
func (p *Publication) ID() string { return p.stream.ID() }

// Stream is what is published.
func (p *Publication) Stream() *pipeline.Stream { return p.stream }

// Started is closed when the first media has come.
func (p *Publication) Started() <-chan struct{} { return p.started }

// Stop ends the publication; the first reason given stays. It does not wait.
func (p *Publication) Stop(reason string) {
	p.stopOnce.Do(func() {
		p.wish = reason
		close(p.stop)
	})
}

func (p *Publication) stopping() bool {
	select {
	case <-p.stop:
		return true
	case <-p.stream.Closing():
		return true
	default:
		return false
	}
}

// Ended is closed when the publication has ended: its name is free and its
// recording complete. Then Reason is its info text and RecordName the file's
// name, "" if there is none.
func (p *Publication) Ended() <-chan struct{} { return p.ended }

// Reason may be called once Ended is closed.
func (p *Publication) Reason() string { return p.reason }

// RecordName may be called once Ended is closed.
func (p *Publication) RecordName() string { return p.record }

// equip hangs on the stream what the publisher asked for, before the first frame.
func (p *Publication) equip(r Request) (err error) {
	if r.Record {
		if p.finished, err = p.s.d.Record(p.stream); err != nil {
			return &Error{Info: ByError, Code: fault.CodeOf(err), Err: fmt.Errorf("record stream %q: %w", r.Name, err)}
		}
	}
	if r.RTMPURL == "" {
		return nil
	}
	if !p.s.cfg.RTMP {
		return &Error{Info: ByRTMP, Code: fault.Forbidden, Err: errors.New("publishers may not ask for RTMP pushes (publish.rtmp)")}
	}
	if err := p.s.d.Push(p.stream, r.RTMPURL); err != nil {
		return &Error{Info: ByRTMP, Code: fault.CodeOf(err), Err: fmt.Errorf("push stream %q: %w", r.Name, err)}
	}
	return nil
}

func (p *Publication) answer(run context.Context, r Request) (err error) {
	send := func(sdp string) { r.SendSDP(limit(sdp, p.s.cfg.MaxBitrate)) }
	p.peer, err = p.s.d.Answer(run, r.Offer, rtc.Options{ID: p.ID(), SessionID: r.SessionID, Log: p.log, SendSDP: send})
	if err != nil {
		return &Error{Info: info(err), Code: fault.BadRequest, Err: fmt.Errorf("answer the publisher of %q: %w", r.Name, err)}
	}
	p.log.Info("publisher waits for its connection", "provider", p.stream.Meta().Provider, "session", r.SessionID, "record", r.Record, "rtmp", r.RTMPURL != "")
	return nil
}

// run is the publication's goroutine.
func (p *Publication) run() {
	begun := time.Now()
	reason := p.receive()
	told := byPublisher
	if reason == ByTerminate {
		told = reason
	}
	p.stream.Close(told) // the name is free now
	p.hangup(reason)
	<-p.stream.Done()
	p.nameRecord()
	p.reason = reason
	p.log.Info("publication ended", "reason", reason, "seconds", int(time.Since(begun).Seconds()), "record", p.record)
	close(p.ended)
}

// receive makes the stream until the end, and says why that came. What the
// buffers held is in the stream when it returns.
func (p *Publication) receive() (reason string) {
	ctx, cancel := context.WithCancel(context.Background())
	var tapped chan error
	defer func() {
		cancel()
		if tapped != nil {
			<-tapped
		}
		if r := recover(); r != nil {
			p.log.Error("publication panicked and is ended", "panic", r, "stack", string(debug.Stack()))
			reason = ByError
		}
	}()
	events, connected := p.peer.Events(), p.peer.Connected()
	for {
		select {
		case e, open := <-events:
			if !open {
				return ByError
			}
			if e.Type == leg.Ended {
				p.log.Info("publisher has left", "cause", e.Cause)
				return ended(e.Cause, p.peer.Err())
			}
		case <-connected:
			connected = nil
			md := p.peer.Media()
			t, err := tap.New(tap.Config{Media: md, Stream: p.stream, Codecs: p.s.d.Codecs, RTPIn: p.s.d.RTPIn, Log: p.log})
			if err != nil {
				p.log.Warn("publisher sends nothing that can be used", "err", err)
				return NoCodecs
			}
			tapped = make(chan error, 1)
			go func() {
				defer close(tapped)
				tapped <- tap.Run(ctx, md, t, func(k leg.Packet) {
					if k.RTP != nil {
						p.begin.Do(func() { close(p.started) })
					}
					t.Receive(k)
				})
			}()
		case err := <-tapped:
			tapped = nil
			// Without an error the media ended with the peer, which tells why itself.
			if err != nil {
				p.log.Error("receive media", "err", err)
				return ByError
			}
		case <-p.stream.Closing():
			return p.stream.Reason()
		case <-p.stop:
			return p.wish
		}
	}
}

// hangup ends the peer and reads what it still says.
func (p *Publication) hangup(reason string) {
	ctx, cancel := context.WithTimeout(context.Background(), hangupTime)
	defer cancel()
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		for range p.peer.Events() {
		}
	}()
	if err := p.peer.Hangup(ctx, leg.Cause{Local: true, Text: reason}); err != nil {
		p.log.Warn("end the publisher's connection", "err", err)
	}
	<-gone
}

// nameRecord waits until the recording can be fetched.
func (p *Publication) nameRecord() {
	if p.finished == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), fileTime)
	defer cancel()
	var err error
	if p.record, err = p.finished(ctx); err != nil {
		p.log.Warn("the recording is not complete yet", "waited", fileTime, "err", err)
	}
}
