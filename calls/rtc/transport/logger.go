package transport

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/pion/logging"
)

// pion lends our logger to pion. What pion calls a warning is mostly a
// packet somebody sent us, so nothing of it is above debug: the ends of
// peers are logged by us, once, with their reason.
type pion struct{ log *slog.Logger }

// NewLogger implements logging.LoggerFactory.
func (p pion) NewLogger(scope string) logging.LeveledLogger {
	return pion{p.log.With("pion", scope)}
}

func (p pion) put(msg string) { p.log.Debug(msg) }
func (p pion) putf(format string, args []any) {
	if p.log.Enabled(context.Background(), slog.LevelDebug) {
		p.log.Debug(fmt.Sprintf(format, args...))
	}
}

// Trace output is per packet and never wanted.
func (p pion) Trace(string)              {}
func (p pion) Tracef(string, ...any)     {}
func (p pion) Debug(msg string)          { p.put(msg) }
func (p pion) Debugf(f string, a ...any) { p.putf(f, a) }
func (p pion) Info(msg string)           { p.put(msg) }
func (p pion) Infof(f string, a ...any)  { p.putf(f, a) }
func (p pion) Warn(msg string)           { p.put(msg) }
func (p pion) Warnf(f string, a ...any)  { p.putf(f, a) }
func (p pion) Error(msg string)          { p.put(msg) }
func (p pion) Errorf(f string, a ...any) { p.putf(f, a) }
