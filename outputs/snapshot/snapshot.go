// Package snapshot makes pictures of streams: the next key frame, which the
// source is asked for, as PNG by the ffmpeg program.
package snapshot

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os/exec"
	"sync"
	"time"

	"lineout/api/fault"
	"lineout/api/loose"
	"lineout/codecs/ffmpeg"
	"lineout/codecs/h264"
	"lineout/codecs/vp8"
	"lineout/media"
	"lineout/outputs"
	"lineout/pipeline"
)

const (
	// timeout bounds all of it: most of the time goes into waiting for a key frame.
	timeout = 10 * time.Second
	// fresh is how long a picture, or why there is none, is given to whoever asks
	// next: nobody makes the program run more often than that for a stream.
	fresh = time.Second
	// atOnce is how many runs of the program there are at a time.
	atOnce = 2
)

// Reasons why there is no picture.
var (
	errNoProgram = errors.New("Snapshots need the program ffmpeg, which this server has not")
	errNoPicture = errors.New("The stream has no picture")
	errNoKey     = fmt.Errorf("No picture of the stream was made within %v: no key frame came, or the server is busy", timeout)
)

// Service makes pictures. It has no goroutines of its own. Safe for concurrent use.
type Service struct {
	program string
	turns   chan struct{}

	mu    sync.Mutex
	shots map[string]*shot // by stream ID, until they are no longer fresh
}

// shot is one picture; done is closed when the rest is valid.
type shot struct {
	done chan struct{}
	png  []byte
	err  error
	left bool // who asked first did not wait: it says nothing about the stream
}

// New makes a service. program is a path or a name looked for in PATH; with ""
// or without the program every Take fails and says why.
func New(program string) *Service {
	return &Service{program: program, turns: make(chan struct{}, atOnce), shots: map[string]*shot{}}
}

// Take is a picture of the stream as PNG. Those who ask for the same stream at
// the same time get the same one.
func (s *Service) Take(ctx context.Context, st *pipeline.Stream) ([]byte, error) {
	for {
		s.mu.Lock()
		k := s.shots[st.ID()]
		mine := k == nil
		if mine {
			k = &shot{done: make(chan struct{})}
			s.shots[st.ID()] = k
		}
		s.mu.Unlock()
		if mine {
			k.png, k.err = s.take(ctx, st)
			k.left = ctx.Err() != nil
			s.keep(st.ID(), k.left)
			close(k.done)
			return k.png, k.err
		}
		select {
		case <-k.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if !k.left {
			return k.png, k.err
		}
	}
}

// keep forgets a picture when it is not fresh any more, or at once.
func (s *Service) keep(id string, forget bool) {
	drop := func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.shots, id)
	}
	if forget {
		drop()
		return
	}
	time.AfterFunc(fresh, drop)
}

func (s *Service) take(ctx context.Context, st *pipeline.Stream) ([]byte, error) {
	program, err := exec.LookPath(s.program)
	if err != nil {
		return nil, errNoProgram
	}
	limit, cancel := context.WithTimeoutCause(ctx, timeout, errNoKey)
	defer cancel()
	select {
	case s.turns <- struct{}{}:
		defer func() { <-s.turns }()
	case <-limit.Done():
		return nil, context.Cause(limit)
	}
	f, err := keyFrame(limit, st)
	if err != nil {
		return nil, err
	}
	png, err := ffmpeg.PNG(limit, program, f.Track.Codec, f)
	if limit.Err() != nil {
		err = context.Cause(limit)
	}
	return png, err
}

// keyFrame waits for the stream's next key frame.
func keyFrame(ctx context.Context, st *pipeline.Stream) (*media.Frame, error) {
	select {
	case <-st.Ready():
	case <-st.Closing():
		return nil, pipeline.ErrClosed
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if st.Track(media.Video) == nil {
		return nil, errNoPicture
	}
	k := &sink{got: make(chan *media.Frame, 1)}
	a, err := st.Attach("snapshot", k, pipeline.Policy{})
	if err != nil {
		return nil, err
	}
	defer func() { _ = a.Detach(context.Background()) }() // a write of it does not block
	select {
	case f := <-k.got:
		return f, nil
	case <-a.Done():
		return nil, cmp.Or(a.Err(), pipeline.ErrClosed)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// sink takes the first key frame.
type sink struct{ got chan *media.Frame }

func (*sink) Accepts() pipeline.Accepts {
	return pipeline.Accepts{Video: []media.Codec{h264.Name, vp8.Name}}
}

func (*sink) Open(context.Context, []*media.Track) error { return nil }
func (*sink) Close(context.Context) error                { return nil }

func (k *sink) Write(_ context.Context, f *media.Frame) error {
	if f.Key && f.Track.Kind == media.Video {
		select {
		case k.got <- f:
		default:
		}
	}
	return nil
}

// Methods are served below /rest-api/ (rest-api 4). stream finds one by name.
func (s *Service) Methods(stream func(name string) *pipeline.Stream) map[string]outputs.Method {
	return map[string]outputs.Method{"stream/snapshot": func(ctx context.Context, decode func(any) error) (any, error) {
		var q struct {
			StreamName loose.String `json:"streamName"`
		}
		if err := decode(&q); err != nil {
			return nil, err
		}
		st := stream(string(q.StreamName))
		if st == nil {
			return nil, fault.New(fault.NotFound, "no stream %q", q.StreamName)
		}
		png, err := s.Take(ctx, st)
		if err != nil {
			return nil, fault.New(fault.Internal, "snapshot of %q: %v", q.StreamName, err)
		}
		return map[string]string{"data": base64.StdEncoding.EncodeToString(png)}, nil
	}}
}
