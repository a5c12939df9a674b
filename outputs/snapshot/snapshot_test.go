package snapshot

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"image/png"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"lineout/api/fault"
	"lineout/codecs/h264"
	"lineout/codecs/vp8"
	"lineout/media"
	"lineout/pipeline"
	"lineout/pipeline/sinktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// live is a stream of the suite's clip that goes on until the test ends.
func live(t *testing.T, hub *pipeline.Hub, codec media.Codec) *pipeline.Stream {
	t.Helper()
	src := sinktest.NewSource(t, pipeline.Accepts{Audio: []media.Codec{"PCMU"}, Video: []media.Codec{codec}})
	st, err := hub.Create(string(codec), pipeline.Meta{})
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan struct{}, 1)
	src.Video.RequestKeyframe = func() {
		select {
		case asked <- struct{}{}:
		default:
		}
	}
	st.AddTrack(src.Video)
	st.SetReady()
	frames, stop := src.Frames(false, true), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for i, at := 1, time.Second; ; i, at = i+1, at+10*time.Millisecond {
			select {
			case <-asked:
				i = 0 // the clip begins with a key frame
			case <-tick.C:
			case <-stop:
				return
			}
			f := *frames[i%len(frames)]
			f.DTS, f.PTS = at, at
			st.Write(&f)
		}
	})
	t.Cleanup(func() { close(stop); wg.Wait(); st.Close("over"); <-st.Done() })
	return st
}

func newHub(t *testing.T) *pipeline.Hub {
	t.Helper()
	hub := pipeline.NewHub(pipeline.HubConfig{Codecs: sinktest.Table(), Log: slog.New(slog.DiscardHandler), FlushTimeout: time.Second})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- hub.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return hub
}

// A picture of a stream that runs has its size and shows something; those who ask
// at the same time and just after get the same one.
func TestPictures(t *testing.T) {
	for _, codec := range []media.Codec{h264.Name, vp8.Name} {
		t.Run(string(codec), func(t *testing.T) {
			t.Parallel()
			st, s := live(t, newHub(t), codec), New("ffmpeg")
			var all [3][]byte
			var wg sync.WaitGroup
			for i := range all {
				wg.Go(func() {
					var err error
					if all[i], err = s.Take(t.Context(), st); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			for _, b := range all {
				if len(b) == 0 || len(all[0]) == 0 || &b[0] != &all[0][0] {
					t.Fatal("each who asks has the program run for himself")
				}
			}
			img, err := png.Decode(bytes.NewReader(all[0]))
			if err != nil {
				t.Fatal(err)
			}
			colours := map[any]bool{}
			for x := range img.Bounds().Dx() {
				colours[img.At(x, img.Bounds().Dy()/2)] = true
			}
			if size := img.Bounds().Size(); size.X < 64 || size.Y < 48 || len(colours) < 4 {
				t.Errorf("a picture of %v with %d colours", size, len(colours))
			}
			if len(st.Attachments()) != 0 {
				t.Error("the stream is still listened to")
			}
		})
	}
}

func TestNoPicture(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := newHub(t)
		st, err := hub.Create("s", pipeline.Meta{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := New("").Take(t.Context(), st); !errors.Is(err, errNoProgram) {
			t.Errorf("without the program: %v", err)
		}
		st.AddTrack(&media.Track{ID: "a", Kind: media.Audio, Codec: "PCMU", ClockRate: 8000, Channels: 1})
		st.SetReady()
		s := New("true")
		begin := time.Now()
		if _, err := s.Take(t.Context(), st); !errors.Is(err, errNoPicture) || time.Since(begin) != 0 {
			t.Errorf("sound alone: %v after %v", err, time.Since(begin))
		}
		st.AddTrack(&media.Track{ID: "v", Kind: media.Video, Codec: h264.Name, ClockRate: 90000})
		if _, err := s.Take(t.Context(), st); !errors.Is(err, errNoPicture) {
			t.Errorf("asked too often: %v", err)
		}
		time.Sleep(fresh + time.Millisecond)
		// Who leaves takes nothing away from those who wait.
		first, leave := context.WithCancel(t.Context())
		gone := make(chan error, 1)
		go func() { _, err := s.Take(first, st); gone <- err }()
		synctest.Wait()
		begin = time.Now()
		waits := make(chan error, 1)
		go func() { _, err := s.Take(t.Context(), st); waits <- err }()
		time.Sleep(time.Second)
		leave()
		if err := <-gone; !errors.Is(err, context.Canceled) {
			t.Errorf("who left: %v", err)
		}
		if err := <-waits; !errors.Is(err, errNoKey) || time.Since(begin) != time.Second+timeout {
			t.Errorf("no key frame: %v after %v", err, time.Since(begin))
		}
		st.Close("over")
		<-st.Done()
		time.Sleep(fresh + time.Millisecond)
	})
}

func TestREST(t *testing.T) {
	hub := newHub(t)
	st := live(t, hub, vp8.Name)
	ask := New("ffmpeg").Methods(hub.Get)["stream/snapshot"]
	with := func(body string) (any, error) {
		return ask(t.Context(), func(into any) error { return json.Unmarshal([]byte(body), into) })
	}
	if got, err := with(`{"streamName":"` + st.Name() + `"}`); err != nil || len(got.(map[string]string)["data"]) < 100 {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := with(`{"streamName":"none"}`); fault.CodeOf(err) != fault.NotFound {
		t.Errorf("unknown stream: %v", err)
	}
}
