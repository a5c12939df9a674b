package pipeline

import "time"

// Quality is what a stream's source measured of what it receives. Counters
// count from the stream's begin.
type Quality struct {
	// Sync is what sound and picture are kept together by, in the source's words.
	Sync string
	// SyncError is how far the picture is from where the source wants it.
	SyncError time.Duration
	// OffsetP50, OffsetP99 and OffsetMax are of the size of SyncError over all
	// pictures since the stream's begin.
	OffsetP50, OffsetP99, OffsetMax time.Duration
	// DriftPPM is the sender's clock against its samples, in parts per million.
	DriftPPM float64
	// Jumps counts corrections too large to be made in small steps.
	Jumps        uint64
	Audio, Video TrackQuality
}

// TrackQuality is one track's part of a Quality.
type TrackQuality struct {
	Packets, Lost, Late uint64
	// Damaged access units missed packets, Dropped ones were of no use without
	// the key frame waited for.
	Damaged, Dropped uint64
	KeyframeRequests uint64
	Jitter           time.Duration
	// Concealed is the length of the holes in the sound that were filled with
	// something, Filler that of generated frames.
	Concealed, Filler time.Duration
	// Freezes are pictures that came far too late, FreezeTime is how long the
	// picture stood still by them.
	Freezes    uint64
	FreezeTime time.Duration
}

// SetQuality is called by the source, once, with what measures it. measure
// must be safe from any goroutine and cheap.
func (s *Stream) SetQuality(measure func() Quality) { s.measure.Store(&measure) }

// Quality measures the source; ok is false when it cannot be measured.
func (s *Stream) Quality() (q Quality, ok bool) {
	if m := s.measure.Load(); m != nil {
		return (*m)(), true
	}
	return Quality{}, false
}
