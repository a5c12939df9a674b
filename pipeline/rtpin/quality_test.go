package rtpin

import (
	"testing"
	"time"

	"lineout/media"
)

func TestHistogram(t *testing.T) {
	var h histogram
	if h.quantile(.5) != 0 {
		t.Error("a quantile of nothing")
	}
	for i := range 100 {
		h.add(time.Duration(i)*ms + ms/2)
	}
	h.add(-ms)
	h.add(2 * time.Hour)
	for _, c := range []struct {
		q    float64
		want time.Duration
	}{{0, ms}, {.25, 25 * ms}, {.5, 50 * ms}, {.9, 96 * ms}, {1, 2 * time.Hour}} {
		if got := h.quantile(c.q); got != c.want {
			t.Errorf("quantile %v is %v, want %v", c.q, got, c.want)
		}
	}
}

// A pause of the pictures, a hole in the sound, and the key frame after a loss
// are counted with their lengths.
func TestQualityCounters(t *testing.T) {
	a := flow{end: 20 * sec, silent: [][2]time.Duration{{5 * sec, 5500 * ms}}}
	v := flow{end: 20 * sec, silent: [][2]time.Duration{{10 * sec, 11 * sec}}}
	s := newSim(t, DefaultConfig(), 1, &a, &v).run().check()
	st := s.in.Stats()
	if st.Audio.Concealed != 500*ms || st.Audio.FillerTime != 0 || st.Audio.Freezes != 0 {
		t.Errorf("sound: %+v", st.Audio)
	}
	if d := st.Video.FreezeTime - 1040*ms; st.Video.Freezes != 1 || max(d, -d) > 20*ms {
		t.Errorf("picture: %d freezes, %v", st.Video.Freezes, st.Video.FreezeTime)
	}
	if st.OffsetP50 > ms || st.OffsetP99 < st.OffsetP50 || st.OffsetMax < st.OffsetP99 || st.OffsetMax > 20*ms {
		t.Errorf("offset %v %v %v", st.OffsetP50, st.OffsetP99, st.OffsetMax)
	}

	a, v = flow{end: 60 * sec}, flow{end: 60 * sec, loss: .002, keyEvery: 1 << 30}
	st = newSim(t, DefaultConfig(), 2, &a, &v).run().check().in.Stats()
	x := st.Video
	if x.KeyframeRequests == 0 || x.KeyframeAnswers == 0 || x.KeyframeAnswers > x.KeyframeRequests ||
		x.KeyframeAnswer() < 10*ms || x.KeyframeAnswer() > 200*ms {
		t.Errorf("%d requests, %d answers, %v each", x.KeyframeRequests, x.KeyframeAnswers, x.KeyframeAnswer())
	}

	cfg := DefaultConfig()
	cfg.GeneratorDelay = sec
	a, v = flow{end: 20 * sec, silent: [][2]time.Duration{{5 * sec, 15 * sec}}}, flow{end: 20 * sec}
	x = newSim(t, cfg, 1, &a, &v).run().check().in.Stats().Audio
	if x.FillerTime < 9900*ms || x.FillerTime > 14*sec || x.FillerTime != time.Duration(x.Filler)*fillerDuration || x.Concealed > 40*ms {
		t.Errorf("filler %v, concealed %v", x.FillerTime, x.Concealed)
	}
}

// A report that comes before its source's first packet counts (ffmpeg sends such a one).
func TestReportBeforeTheFirstPacket(t *testing.T) {
	a, v := flow{end: 4 * sec, latency: 40 * ms, srEvery: 10 * sec}, flow{end: 4 * sec, latency: 40 * ms, srEvery: 10 * sec}
	s := newSim(t, DefaultConfig(), 1, &a, &v)
	s.track(media.Audio)
	s.track(media.Video)
	s.run().check()
	if x := s.in.Stats(); s.in.tracks[media.Audio].snd.n != 1 || s.in.tracks[media.Video].snd.n != 1 || x.Video.RefusedReports != 0 {
		t.Errorf("%+v", x)
	}
}
