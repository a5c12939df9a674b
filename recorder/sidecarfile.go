package recorder

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"lineout/pipeline"
)

// seen is what the writer of a file knows about it beyond what is in it.
type seen struct {
	gaps   []Gap
	more   int // gaps that are not listed
	offset *AVOffset
	// sender is the sender's clock at the file's begin, zero if it never said.
	sender time.Time
	// before and after are the source's measurements around the file.
	before, after pipeline.Quality
	measured      bool
	// digits came while the file was written, moreDigits are not listed.
	digits     []pipeline.Digit
	moreDigits int
}

// tempSidecar is the working name of the sidecar of a growing file. Whoever
// holds the growing file's lock owns it.
func tempSidecar(live string) string { return tempFor(live) + sidecarExt }

// writeSidecar puts the sidecar beside a finished file. A recording without it
// is still a recording, so a failure is said and not passed on.
func (w *finisher) writeSidecar(j job, s scanned, final string, d digest, fragmented bool) {
	if w.sidecar == nil {
		return
	}
	b, err := w.describe(j, s, final, d, fragmented).encode()
	if err == nil {
		err = putNew(tempSidecar(j.path), final+sidecarExt, b)
	}
	if err != nil {
		w.sidecarFailed.Add(1)
		w.log.Error("the sidecar of a recording cannot be written, nothing proves the file", "file", final+sidecarExt, "err", err)
	}
}

// completeSidecar writes the sidecar of a file that was named before its
// process ended, if it has none.
func (w *finisher) completeSidecar(ctx context.Context, j job, s scanned, final string) {
	if _, err := os.Lstat(final + sidecarExt); err == nil || w.sidecar == nil {
		os.Remove(tempSidecar(j.path))
		return
	}
	f, err := os.Open(final)
	if err != nil {
		return
	}
	defer f.Close()
	d, err := digestOf(ctx, f)
	if err != nil {
		w.log.Error("a recording cannot be read for its sidecar", "file", final, "err", err)
		return
	}
	w.writeSidecar(j, s, final, d, false)
}

// putNew writes a file that appears whole or not at all and replaces nothing.
func putNew(temp, final string, b []byte) error {
	os.Remove(temp)
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = moveNew(temp, final, "", func(string) {})
	}
	if err != nil {
		os.Remove(temp)
	}
	return err
}

// describe makes the sidecar of a finished file.
func (w *finisher) describe(j job, s scanned, final string, d digest, fragmented bool) *Sidecar {
	m, end := s.facts(), s.ending()
	c := &Sidecar{Schema: sidecarSchema, Writer: *w.sidecar, Call: m.Call, Part: m.Part, Last: j.last, Recovered: j.recovered,
		DurationMS: roundMS(end.duration), Tracks: s.contents(), Legs: []SidecarLeg{},
		File: SidecarFile{Name: filepath.Base(final), Format: formatOf(j.path, s.ending()), Size: d.size, SHA256: d.sha256, Fragmented: fragmented}}
	c.Stream.Name, c.Stream.MediaSessionID = m.Stream, m.MediaSession
	var kinds []string
	for _, t := range c.Tracks {
		kinds = append(kinds, t.Kind)
	}
	if m.Call.Callee != "" {
		c.Legs = append(c.Legs, SidecarLeg{Party: m.Call.Callee, Tracks: kinds})
	}
	if j.seen != nil && !m.SenderClock && !j.seen.sender.IsZero() {
		m.SenderClock, m.StartMS = true, j.seen.sender.UnixMilli()
	}
	c.Start, c.End = m.clocks(0), m.clocks(end.duration)
	if j.seen != nil {
		c.Gaps, c.GapsOmitted, c.AVOffset = j.seen.gaps, j.seen.more, j.seen.offset
		c.Quality = j.seen.quality(kinds)
		c.Digits, c.DigitsOmitted = j.seen.keys(time.UnixMilli(m.StartServerMS), end.duration), j.seen.moreDigits
	}
	return c
}

// clocks are both clocks at a time after the file's begin.
func (m fileMeta) clocks(after time.Duration) SidecarClocks {
	c := SidecarClocks{Server: clockText(time.UnixMilli(m.StartServerMS).Add(after))}
	if m.SenderClock {
		t := clockText(time.UnixMilli(m.StartMS).Add(after))
		c.Sender = &t
	}
	return c
}

// quality is what the source measured while the file was written.
func (s *seen) quality(kinds []string) *SidecarQuality {
	if !s.measured {
		return nil
	}
	a, b := s.before, s.after
	q := &SidecarQuality{Sync: b.Sync, SyncErrorMS: ms(b.SyncError), OffsetP50MS: ms(b.OffsetP50), OffsetP99MS: ms(b.OffsetP99),
		OffsetMaxMS: ms(b.OffsetMax), DriftPPM: b.DriftPPM, Jumps: b.Jumps - a.Jumps}
	for _, k := range kinds {
		if k == "audio" {
			q.Audio = reception(a.Audio, b.Audio)
		} else {
			q.Video = reception(a.Video, b.Video)
		}
	}
	return q
}

// keys are the digits as a file of this begin and length has them. One that
// came while the file's last frames were still missing belongs to its end.
func (s *seen) keys(start time.Time, length time.Duration) []SidecarDigit {
	out := []SidecarDigit{}
	for _, d := range s.digits {
		k := SidecarDigit{AtMS: roundMS(min(max(d.At.Sub(start), 0), length)), By: d.By}
		if d.Key != "" {
			k.Digit = &d.Key
		}
		out = append(out, k)
	}
	return out
}

func reception(a, b pipeline.TrackQuality) *SidecarReception {
	return &SidecarReception{Packets: b.Packets - a.Packets, Lost: b.Lost - a.Lost, Late: b.Late - a.Late,
		Damaged: b.Damaged - a.Damaged, Dropped: b.Dropped - a.Dropped,
		KeyframeRequests: b.KeyframeRequests - a.KeyframeRequests, JitterMS: ms(b.Jitter), ConcealedMS: ms(b.Concealed - a.Concealed), FillerMS: ms(b.Filler - a.Filler),
		Freezes: b.Freezes - a.Freezes, FreezeMS: ms(b.FreezeTime - a.FreezeTime)}
}

// callFactsOf are the facts about a stream's call, short enough for a header.
func callFactsOf(m pipeline.Meta) callFacts {
	return callFacts{CallID: short(m.CallID), Caller: short(m.Caller), Callee: short(m.Callee), Login: short(m.Login),
		AppKey: short(m.AppKey), SessionID: short(m.SessionID), Provider: short(m.Provider)}
}

// short keeps what a client chose from filling a header.
func short(s string) string { return shorten(s[:min(len(s), 256)]) }
