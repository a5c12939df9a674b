package rtpin

import (
	"time"

	"github.com/pion/rtcp"
)

// reportBound is how far from the present a sender report's timestamp may lie.
const reportBound = 5 * time.Second

// report takes a sender report of the track's present SSRC.
func (t *trackInput) report(in *Input, r *rtcp.SenderReport, local time.Duration) {
	t.stats.SenderReports++
	from := t.mark
	t.mark = mark{awaited: true}
	if r.NTPTime == 0 || t.src.fresh {
		// RFC 3550 section 6.4.1: 0 says that the sender has no wall clock.
		t.snd.refused++
		return
	}
	m := t.src.mediaTime(r.RTPTime)
	if d := m - t.src.now(local); d > reportBound || d < -reportBound {
		t.snd.refused++
		return
	}
	s := srSample{at: local, y: ntpTime(r.NTPTime).Sub(in.start) - m, arr: t.src.clock.offset,
		sent: from.off, way: from.set, jitter: t.src.clock.jitter}
	s.stuck, s.repeats = t.ageOf(r.RTPTime, local)
	t.snd.add(s)
}

// ageOf is how old the frame of this timestamp was when a report that repeats it
// left: it came before, and the next one after, though that may have overtaken it.
func (t *trackInput) ageOf(ts uint32, local time.Duration) (age time.Duration, ok bool) {
	next := local
	for i := range t.sent { // from the newest on
		f := t.sent[(t.sentAt+sentFrames-i)%sentFrames]
		if since := local - f.at; f.ts == ts && since >= 0 && since < time.Second {
			age, ok = max(min(next, local)-f.at, 0), true
		}
		next = f.at
	}
	return age, ok
}

// earlyReport keeps a sender report whose source has sent no packet yet (ffmpeg's first).
type earlyReport struct {
	sr  rtcp.SenderReport
	at  time.Duration
	set bool
}

// early keeps the newest report that belongs to no track's present source.
func (t *trackInput) early(r *rtcp.SenderReport, local time.Duration) {
	if t.src.segments == 0 || r.SSRC != t.src.ssrc {
		t.ahead = earlyReport{sr: rtcp.SenderReport{SSRC: r.SSRC, NTPTime: r.NTPTime, RTPTime: r.RTPTime}, at: local, set: true}
	}
}

// takeEarly uses that report when its source begins to send.
func (t *trackInput) takeEarly(in *Input, local time.Duration) {
	e := &t.ahead
	fits := e.sr.SSRC == t.src.ssrc && t.src.segments > 0
	e.set = !fits && local-e.at < reportBound
	if fits && local-e.at < reportBound {
		t.report(in, &e.sr, e.at)
	}
}

// ntpTime converts the 64-bit fixed point seconds since 1900 of RFC 3550
// section 4. Seconds below 2^31 count from 2036 (RFC 4330 section 3).
func ntpTime(ntp uint64) time.Time {
	const unix = 2208988800
	secs := int64(ntp >> 32)
	if secs < 1<<31 {
		secs += 1 << 32
	}
	return time.Unix(secs-unix, int64((ntp&0xffffffff)*1e9>>32))
}
