package rtpin

import (
	"time"

	"lineout/media"
)

// silence hands on a packet of comfort noise (RFC 3389 section 3): its first
// byte is how far below overload the silence is, in dB. The spectrum that may
// follow is not used. Its timestamp is believed only between the end of the
// sound and the present: it says nothing of when other packets were sent.
func (t *trackInput) silence(in *Input, a arrived, local time.Duration) {
	t.stats.Noise++
	if len(a.p.Payload) == 0 || !t.hasFrame {
		return
	}
	m := max(min(t.src.mediaTime(a.p.Timestamp), t.src.now(local)), t.end)
	f := t.newFrame()
	*f = media.Frame{Track: t.track, Params: t.params, Key: true, Noise: -max(1, int8(a.p.Payload[0]&0x7f)), Arrival: in.start.Add(a.at)}
	t.quiet, t.end = true, m
	t.reached = max(t.reached, m)
	if in.gen.delay > 0 {
		in.realSound(t, m, local)
	}
	t.queue.push(pending{f: f, media: m, since: a.at})
}
