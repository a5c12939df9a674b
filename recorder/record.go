package recorder

import (
	"context"
	"path/filepath"

	"lineout/api/fault"
	"lineout/pipeline"
)

// Record starts the recording of a stream by the settings' template, for calls
// whose route asks for it. A stream that is being recorded goes on as it is.
func (o *Output) Record(s *pipeline.Stream) error {
	_, err := o.RecordNamed(s)
	return err
}

// RecordNamed is Record. finished waits for the end of the recording, which
// that of its stream brings, and until its last file is complete; it returns
// that file's name, "" when nothing was recorded. The error is that of its ctx.
func (o *Output) RecordNamed(s *pipeline.Stream) (finished func(ctx context.Context) (name string, err error), err error) {
	if !o.cfg.RecordStreams {
		return nil, &fault.Error{Code: fault.Forbidden, Err: errDisabled}
	}
	o.mu.Lock()
	r := o.recs[s.ID()]
	o.mu.Unlock()
	if r == nil {
		if r, err = o.start(s, o.template(""), o.rotate); err != nil {
			return nil, fault.New(fault.Internal, "start recording of %q: %w", s.Name(), err)
		}
	}
	return r.finished, nil
}

func (r *recording) finished(ctx context.Context) (string, error) {
	select {
	case <-r.att.Done():
	case <-ctx.Done():
		return "", ctx.Err()
	}
	r.mu.Lock()
	named := r.named
	r.mu.Unlock()
	if named != nil {
		select {
		case <-named:
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.final, nil
}

// submitted notes that a file was handed over to be finished.
func (r *recording) submitted() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.open++; r.open == 1 {
		r.named = make(chan struct{})
	}
}

// placed notes that a file has its final name, or will not have one soon.
func (r *recording) placed(final string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if final != "" {
		r.final = filepath.Base(final)
	}
	if r.open--; r.open == 0 {
		close(r.named)
	}
}
