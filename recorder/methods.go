package recorder

import (
	"cmp"
	"context"
	"slices"
	"time"

	"lineout/api/fault"
	"lineout/api/loose"
	"lineout/media"
	"lineout/outputs"
	"lineout/pipeline"
)

// stopWait bounds how long a request waits for a recording's last bytes.
const stopWait = 10 * time.Second

// Methods implements outputs.Output (rest-api 4 and 5).
func (o *Output) Methods() map[string]outputs.Method {
	return map[string]outputs.Method{
		"stream/startRecording": o.startMethod,
		"stream/stopRecording":  o.stopMethod,
		"recorder/startup":      o.startMethod,
		"recorder/terminate":    o.stopMethod,
		"recorder/find_all":     o.findAll,
		"recorder/pause":        o.drawMethod(func(c *curtain) { c.paused = true }),
		"recorder/resume":       o.drawMethod(func(c *curtain) { c.paused = false }),
		"recorder/mute":         o.drawMethod(func(c *curtain) { c.muted = true }),
		"recorder/unmute":       o.drawMethod(func(c *curtain) { c.muted = false }),
	}
}

// target names the stream of a request.
type target struct {
	MediaSessionID loose.String `json:"mediaSessionId"`
	// StreamName may be given instead; the original has only the id.
	StreamName loose.String `json:"streamName"`
}

func (o *Output) find(t target) (*pipeline.Stream, error) {
	switch {
	case t.MediaSessionID != "":
		if s := o.env.Streams.ByID(string(t.MediaSessionID)); s != nil {
			return s, nil
		}
		return nil, fault.New(fault.NotFound, "no stream has the mediaSessionId %q", t.MediaSessionID)
	case t.StreamName != "":
		if s := o.env.Streams.Get(string(t.StreamName)); s != nil {
			return s, nil
		}
		return nil, fault.New(fault.NotFound, "no stream has the name %q", t.StreamName)
	}
	return nil, fault.New(fault.BadRequest, "mediaSessionId is missing: say which stream is meant")
}

type startBody struct {
	target
	FileName loose.String `json:"fileName"`
	// Force asked the original to overwrite. A recording is never overwritten
	// here: the new file gets the next free number, with or without it.
	Force  loose.Bool `json:"force"`
	Config struct {
		FileTemplate loose.String `json:"fileTemplate"`
		Rotation     loose.String `json:"rotation"`
	} `json:"config"`
}

func (o *Output) startMethod(ctx context.Context, decode func(any) error) (any, error) {
	var b startBody
	if err := decode(&b); err != nil {
		return nil, err
	}
	if !o.cfg.RecordStreams {
		return nil, &fault.Error{Code: fault.Forbidden, Err: errDisabled}
	}
	s, err := o.find(b.target)
	if err != nil {
		return nil, err
	}
	template := o.template(string(b.Config.FileTemplate))
	if b.FileName != "" {
		template = fixedName(string(b.FileName))
	}
	if err := checkTemplate(template); err != nil {
		return nil, fault.New(fault.BadRequest, "fileTemplate or fileName: %w", err)
	}
	rotate := o.rotate
	if b.Config.Rotation != "" {
		if rotate, err = parseRotation(string(b.Config.Rotation)); err != nil {
			return nil, fault.New(fault.BadRequest, "rotation: %w", err)
		}
	}
	// A running recording ends and a new one begins with the new settings.
	wait, cancel := context.WithTimeout(ctx, stopWait)
	defer cancel()
	if _, err := o.stop(wait, s.ID()); err != nil {
		o.log.Error("the recording before this one did not end in time", "stream", s.Name(), "err", err)
	}
	if _, err := o.start(s, template, rotate); err != nil {
		return nil, fault.New(fault.Internal, "start recording of %q: %w", s.Name(), err)
	}
	return nil, nil
}

func (o *Output) stopMethod(ctx context.Context, decode func(any) error) (any, error) {
	var b target
	if err := decode(&b); err != nil {
		return nil, err
	}
	s, err := o.find(b)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, stopWait)
	defer cancel()
	found, err := o.stop(ctx, s.ID())
	if !found {
		return nil, fault.New(fault.NotFound, "stream %q is not being recorded", s.Name())
	}
	if err != nil {
		return nil, fault.New(fault.Internal, "stop recording of %q: %w", s.Name(), err)
	}
	return nil, nil
}

// drawMethod hides or shows what a running recording gets. Asking twice is no
// fault: who hides a card number must be sure of the outcome only.
func (o *Output) drawMethod(change func(c *curtain)) outputs.Method {
	return func(_ context.Context, decode func(any) error) (any, error) {
		var b target
		if err := decode(&b); err != nil {
			return nil, err
		}
		s, err := o.find(b)
		if err != nil {
			return nil, err
		}
		o.mu.Lock()
		r := o.recs[s.ID()]
		o.mu.Unlock()
		if r == nil {
			return nil, fault.New(fault.NotFound, "stream %q is not being recorded", s.Name())
		}
		r.draw(time.Now(), change)
		c := r.curtain.Load()
		o.log.Info("recording pause and mute", "stream", s.Name(), "paused", c.paused, "muted", c.muted)
		if !c.paused {
			s.Track(media.Video).AskKeyframe()
		}
		return nil, nil
	}
}

// Recording is one entry of recorder/find_all. The first two keys are the
// original's; the others are additions.
type Recording struct {
	FileName       string `json:"fileName"`
	MediaSessionID string `json:"mediaSessionId"`
	StreamName     string `json:"streamName"`
	// State is that of the attachment: waiting, active, lost, failed. Instead
	// of active it is paused or muted when that is so.
	State string `json:"state"`
	// Paused and Muted say what was asked for, whatever the state.
	Paused bool `json:"paused"`
	Muted  bool `json:"muted"`
	// Error is the newest trouble, such as a full disk; null if there was none.
	Error *string `json:"error"`
	// Note says what is left out of the file; null if nothing is.
	Note *string `json:"note"`
	// Parts counts the files so far, Frames and Bytes what is in them.
	Parts  int    `json:"parts"`
	Frames uint64 `json:"frames"`
	Bytes  uint64 `json:"bytes"`
}

// Recordings lists what is being recorded, by stream name.
func (o *Output) Recordings() []Recording {
	o.mu.Lock()
	o.prune()
	recs := make([]*recording, 0, len(o.recs))
	for _, r := range o.recs {
		recs = append(recs, r)
	}
	o.mu.Unlock()
	list := make([]Recording, 0, len(recs))
	for _, r := range recs {
		list = append(list, r.describe())
	}
	slices.SortFunc(list, func(a, b Recording) int { return cmp.Compare(a.StreamName, b.StreamName) })
	return list
}

// RecordName is the file name of a stream's recording, "" if there is none.
// Elements that are known only at its end are literals in it.
func (o *Output) RecordName(mediaSessionID string) string {
	o.mu.Lock()
	r := o.recs[mediaSessionID]
	o.mu.Unlock()
	if r == nil {
		return ""
	}
	return r.describe().FileName
}

// States beyond those of an attachment.
const (
	statePaused = "paused"
	stateMuted  = "muted"
)

func (r *recording) describe() Recording {
	d := Recording{MediaSessionID: r.stream.ID(), StreamName: r.stream.Name(), State: r.att.State().String(),
		Frames: r.frames.own.Load(), Bytes: r.bytes.own.Load()}
	if c := r.curtain.Load(); c != nil {
		d.Paused, d.Muted = c.paused, c.muted
		if what := c.hides(media.Audio); what != "" && r.att.State() == pipeline.Active {
			d.State = map[string]string{gapPause: statePaused, gapMute: stateMuted}[what]
		}
	}
	if err := r.att.Err(); err != nil {
		text := err.Error()
		d.Error = &text
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	ext := r.ext
	if ext == "" {
		ext = r.container().ext
	}
	d.FileName, d.Parts = r.fileName+ext, r.parts
	if r.note != "" {
		note := r.note
		d.Note = &note
	}
	return d
}

func (o *Output) findAll(context.Context, func(any) error) (any, error) {
	list := o.Recordings()
	if len(list) == 0 {
		return nil, fault.New(fault.NotFound, "nothing is being recorded")
	}
	return list, nil
}

// Metrics implements outputs.Output.
func (o *Output) Metrics() []outputs.Metric {
	states := map[string]float64{"waiting": 0, "active": 0, statePaused: 0, stateMuted: 0, "lost": 0, "failed": 0}
	for _, r := range o.Recordings() {
		states[r.State]++
	}
	var ms []outputs.Metric
	for _, st := range []string{"waiting", "active", statePaused, stateMuted, "lost", "failed"} {
		ms = append(ms, outputs.Metric{Name: "lineout_recordings", Help: "Recordings by state.",
			Labels: map[string]string{"state": st}, Value: states[st]})
	}
	w := o.finish
	for _, m := range []struct {
		name, help string
		v          uint64
	}{
		{"lineout_recorder_frames_total", "Frames recorded.", o.frames.Load()},
		{"lineout_recorder_bytes_total", "Bytes written to recordings while they grow.", o.bytes.Load()},
		{"lineout_recorder_skipped_frames_total", "Frames that could not be put into a file.", o.skipped.Load()},
		{"lineout_recorder_failures_total", "Failed writes, such as on a full disk.", o.failures.Load()},
		{"lineout_recorder_finalised_total", "Files rewritten for fast start.", w.finalised.Load()},
		{"lineout_recorder_finalise_failures_total", "Files that had to stay fragmented.", w.failed.Load()},
		{"lineout_recorder_recovered_total", "Files of an earlier run that were finalised.", w.recovered.Load()},
		{"lineout_recorder_sidecar_failures_total", "Sidecars that could not be written.", w.sidecarFailed.Load()},
		{"lineout_recorder_hook_failures_total", "Failed calls of on_record_hook_script.", w.hookFailed.Load()},
	} {
		ms = append(ms, outputs.Metric{Name: m.name, Help: m.help, Value: float64(m.v)})
	}
	return append(ms, outputs.Metric{Name: "lineout_recorder_finalise_queue", Help: "Files waiting to be finalised.", Value: float64(len(w.jobs))})
}
