// Package doctor says why a call is as it is: what it sent and got, what was
// agreed and what came, and in one sentence what the cause of its end or of
// its trouble is. It shows SIP messages and telephone numbers, so it is for the
// operator alone.
package doctor

import (
	"cmp"
	"io"
	"slices"
	"strconv"
	"time"

	"lineout/api/fault"
	"lineout/calls"
	"lineout/calls/trace"
)

// Calls is what the doctor needs of the call registry.
type Calls interface {
	Find(f calls.Filter) []calls.Info
	Stats(callID string) (calls.Stats, error)
}

// Service reports on the calls of a recorder. Safe for concurrent use.
type Service struct {
	rec   *trace.Recorder
	calls Calls
}

// New makes a service; rec may be nil, then there is nothing to report.
func New(rec *trace.Recorder) *Service { return &Service{rec: rec} }

// Watch gives the service the registry whose calls it is told of. It comes
// before the first call.
func (s *Service) Watch(c Calls) { s.calls = c }

// outcome is what is kept of a call that has ended.
type outcome struct {
	info  calls.Info
	stats calls.Stats
}

// Observe takes each change of a call, in order per call.
func (s *Service) Observe(i calls.Info) {
	c := s.rec.Find(i.CallID)
	if c == nil {
		return
	}
	text := string(i.Status)
	if i.SIPStatus != 0 {
		text += " " + strconv.Itoa(i.SIPStatus)
	}
	if i.RTMPStreamStatus != "" {
		text += ", " + i.RTMPStreamStatus
	}
	c.Note(text)
	if i.Status.Final() {
		st, _ := s.calls.Stats(i.CallID) // a call that never existed for the registry has none
		c.End(outcome{i, st})
	}
}

// Digit takes a digit the other party has dialled and the way it came. An empty
// digit is one that must not be shown.
func (s *Service) Digit(callID, digit, by string) {
	text := "digit received by " + by
	if digit != "" {
		text += ": " + digit
	}
	s.rec.Find(callID).Note(text)
}

// Summary is a call in the list.
type Summary struct {
	CallID  string       `json:"callId"`
	Status  calls.Status `json:"status"`
	Caller  string       `json:"caller"`
	Callee  string       `json:"callee"`
	Started int64        `json:"started"` // milliseconds since 1970
	Ended   *int64       `json:"ended"`
	Cause   string       `json:"cause"`
}

// List is all calls that are known, newest first.
func (s *Service) List() []Summary {
	out := []Summary{}
	for _, c := range s.rec.List() {
		r := s.report(c)
		out = append(out, Summary{CallID: r.CallID, Status: r.Status, Caller: r.Caller, Callee: r.Callee, Started: r.Started, Ended: r.Ended, Cause: r.Cause})
	}
	return out
}

// Report examines one call.
func (s *Service) Report(id string) (*Report, error) {
	c, err := s.find(id)
	if err != nil {
		return nil, err
	}
	return s.report(c), nil
}

// Trace writes the call's packets for packet analysers.
func (s *Service) Trace(id string, w io.Writer) error {
	c, err := s.find(id)
	if err != nil {
		return err
	}
	return c.WritePCAP(w)
}

func (s *Service) find(id string) (*trace.Call, error) {
	if s.rec == nil {
		return nil, fault.New(fault.NotFound, "the call doctor is off: set doctor_calls to more than 0")
	}
	c := s.rec.Find(id)
	if c == nil {
		return nil, fault.New(fault.NotFound, "no call with callId %q is running or among the last ended ones (doctor_calls)", id)
	}
	return c, nil
}

func (s *Service) report(c *trace.Call) *Report {
	snap := c.Snapshot()
	snap.Messages = append(snap.Messages, s.rec.Registering(snap.Account)...)
	slices.SortStableFunc(snap.Messages, func(a, b trace.Message) int { return a.At.Compare(b.At) })
	o, over := snap.Final.(outcome)
	if !over {
		o.info.CallID, o.info.Status = snap.ID, calls.Pending
		for _, i := range s.calls.Find(calls.Filter{CallID: snap.ID}) {
			o.info = i
		}
		o.stats, _ = s.calls.Stats(snap.ID)
	}
	r := &Report{CallID: snap.ID, Status: o.info.Status, Caller: o.info.Caller, Callee: o.info.Callee,
		Started: snap.Started.UnixMilli(), Forgotten: snap.Forgotten, PacketsKept: snap.Packets, PacketsSeen: snap.Seen,
		Messages: []Message{}, Timeline: []Note{}, SDP: []Section{}, Media: []Media{}, Flows: []Flow{}, Joined: []Joined{}}
	if o.info.SIPStatus != 0 {
		r.SIPStatus = &o.info.SIPStatus
	}
	if !snap.Ended.IsZero() {
		ms := snap.Ended.UnixMilli()
		r.Ended = &ms
	}
	r.messages(snap)
	offer, answer := r.descriptions(snap)
	r.sections(offer, answer, o.stats)
	r.media(snap, answer, o.stats)
	r.joined(o.stats.Joined)
	r.Cause = cmp.Or(diagnose(r, o.info, over), "nothing is known")
	return r
}

func since(start, at time.Time) float64 { return float64(at.Sub(start).Microseconds()) / 1000 }
