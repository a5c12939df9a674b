package sinktest

import (
	"context"
	"errors"
	"testing"

	"lineout/media"
	"lineout/pipeline"
)

// keeper is a well-behaved sink that checks the suite itself: what it offers
// must be playable media in order.
type keeper struct {
	acc  pipeline.Accepts
	t    *testing.T
	open bool
	last map[*media.Track]int64
}

func (k *keeper) Accepts() pipeline.Accepts {
	if len(k.acc.Video) > 0 {
		return k.acc
	}
	return pipeline.Accepts{Audio: []media.Codec{"AAC"}, Video: []media.Codec{"H264"}}
}

func (k *keeper) Open(ctx context.Context, _ []*media.Track) error {
	if k.open {
		return errors.New("opened twice")
	}
	k.last = map[*media.Track]int64{}
	k.open = ctx.Err() == nil
	return ctx.Err()
}

func (k *keeper) Write(_ context.Context, f *media.Frame) error {
	if !k.open {
		return errors.New("write without open")
	}
	if last, ok := k.last[f.Track]; ok && int64(f.DTS) <= last {
		return errors.New("DTS does not grow")
	}
	if _, begun := k.last[f.Track]; !begun && !f.Key {
		return errors.New("track begins without a key frame")
	}
	k.last[f.Track] = int64(f.DTS)
	return nil
}

func (k *keeper) Close(context.Context) error {
	if !k.open {
		return errors.New("closed without open")
	}
	k.open = false
	return nil
}

func TestSuiteOffersWhatAStreamWould(t *testing.T) {
	Run(t, Spec{New: func(t *testing.T) pipeline.Sink { return &keeper{t: t} }})
}

var webm = pipeline.Accepts{Audio: []media.Codec{"opus"}, Video: []media.Codec{"VP8"}}

func TestSuiteOffersVP8AndOpus(t *testing.T) {
	Run(t, Spec{New: func(t *testing.T) pipeline.Sink { return &keeper{t: t, acc: webm} }})
}

func TestClipIsWhatItSays(t *testing.T) {
	for _, acc := range []pipeline.Accepts{(&keeper{}).Accepts(), webm} {
		clipIsWhatItSays(t, NewSource(t, acc))
	}
}

func clipIsWhatItSays(t *testing.T, s *Source) {
	if p := s.video[0].Params; p.Width != 320 || p.Height != 180 {
		t.Errorf("clip is %dx%d", p.Width, p.Height)
	}
	if p := s.small[0].Params; p.Width != 176 || p.Height != 144 {
		t.Errorf("small clip is %dx%d", p.Width, p.Height)
	}
	if len(s.video) != 50 || len(s.small) != 25 || len(s.audio) < 130 {
		t.Errorf("frames %d %d %d", len(s.video), len(s.small), len(s.audio))
	}
}
