package server

import (
	"context"
	"io"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A phone that rings and does not answer CANCEL keeps its call alive; that must
// not eat the time in which files are finished.
func TestACallThatDoesNotEndIsCutOffBySIP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Server{settings: &Settings{}, log: slog.New(slog.NewTextHandler(io.Discard, nil))}
		s.settings.Server.ShutdownTimeout = 15 * time.Second
		cut := make(chan struct{}) // SIP was told to stop
		fake := func(name string, end func()) *part {
			ctx, stop := context.WithCancel(context.Background())
			p := &part{name: name, stop: stop, done: make(chan struct{})}
			go func() {
				defer close(p.done)
				<-ctx.Done()
				end()
			}()
			return p
		}
		sip := fake("sip", func() { close(cut) })
		calls := fake("calls", func() { <-cut })
		calls.leans = sip
		files := fake("files", func() {})
		begun := time.Now()
		if err := s.shutdown([]*part{calls, files, sip}); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(begun); d > 5*time.Second {
			t.Fatalf("stopping took %v", d)
		}
	})
}
