package recorder

import (
	"lineout/api/fault"
	"lineout/pipeline"
)

// Record starts the recording of a stream by the settings' template, for calls
// whose route asks for it. A stream that is being recorded goes on as it is.
func (o *Output) Record(s *pipeline.Stream) error {
	if !o.cfg.RecordStreams {
		return &fault.Error{Code: fault.Forbidden, Err: errDisabled}
	}
	if o.RecordName(s.ID()) != "" {
		return nil
	}
	if err := o.start(s, o.template(""), o.rotate); err != nil {
		return fault.New(fault.Internal, "start recording of %q: %w", s.Name(), err)
	}
	return nil
}
