//go:build !linux

package rtmp

import "time"

// limitSilence has no portable form; keep-alive and the write deadline remain.
func limitSilence(uintptr, time.Duration) error { return nil }
