package webrtc

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/pion/logging"
)

// pionLog lends our logger to pion. What pion calls a warning is mostly a
// packet somebody sent us, so nothing of it is above debug: viewers' ends are
// logged by us, once, with their reason.
type pionLog struct{ log *slog.Logger }

// NewLogger implements logging.LoggerFactory.
func (p pionLog) NewLogger(scope string) logging.LeveledLogger {
	return pionLog{p.log.With("pion", scope)}
}

func (p pionLog) put(msg string) { p.log.Debug(msg) }
func (p pionLog) putf(format string, args []any) {
	if p.log.Enabled(context.Background(), slog.LevelDebug) {
		p.log.Debug(fmt.Sprintf(format, args...))
	}
}

// Trace output is per packet and never wanted.
func (p pionLog) Trace(string)              {}
func (p pionLog) Tracef(string, ...any)     {}
func (p pionLog) Debug(msg string)          { p.put(msg) }
func (p pionLog) Debugf(f string, a ...any) { p.putf(f, a) }
func (p pionLog) Info(msg string)           { p.put(msg) }
func (p pionLog) Infof(f string, a ...any)  { p.putf(f, a) }
func (p pionLog) Warn(msg string)           { p.put(msg) }
func (p pionLog) Warnf(f string, a ...any)  { p.putf(f, a) }
func (p pionLog) Error(msg string)          { p.put(msg) }
func (p pionLog) Errorf(f string, a ...any) { p.putf(f, a) }
