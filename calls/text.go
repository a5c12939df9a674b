package calls

import (
	"time"

	"lineout/calls/leg"
	"lineout/pipeline"
)

// Message is a text to us, within a call or outside of calls (S0-4).
type Message struct {
	leg.Text
	// Call is the call it was written in, nil outside of calls.
	Call *Info
}

// ReceiveText implements leg.TextReceiver. A text nobody takes is refused, so
// that its writer knows.
func (m *Manager) ReceiveText(t leg.Text) *leg.Refusal {
	if m.d.Message == nil || !m.d.Message(Message{Text: t}) {
		return &leg.Refusal{Code: 480, Text: "Temporarily Unavailable", Why: "nobody is told of messages: set call_app_urls, with OnMessageEvent in call_app_methods"}
	}
	// Its words are nobody else's business.
	m.d.Log.Info("message received", "from", t.From, "to", t.To, "trunk", t.Trunk, "account", t.Account, "source", t.Source, "bytes", len(t.Body))
	return nil
}

// wrote passes on what the other party of the call wrote.
func (c *call) wrote(e leg.Event) {
	c.log.Info("message received", "bytes", len(e.Text))
	if c.m.d.Message == nil {
		return
	}
	i := c.Info()
	from, to := i.Callee, i.Caller
	if i.Incoming {
		from, to = to, from
	}
	c.m.d.Message(Message{Text: leg.Text{From: from, To: to, ContentType: e.ContentType, Body: e.Text}, Call: &i})
}

// dialled passes on a digit of the other party.
func (c *call) dialled(e leg.Event) {
	c.log.Debug("digit received", "by", e.How) // not which: it may be of somebody's PIN
	d := pipeline.Digit{At: time.Now(), By: string(e.How)}
	if c.m.d.DigitsShown {
		d.Key = e.Digit
	}
	if c.stream != nil {
		c.stream.AddDigit(d)
	}
	if c.user != nil {
		for _, t := range c.user.taps {
			t.stream.AddDigit(d)
		}
	}
	if c.m.d.Digit != nil {
		c.m.d.Digit(c.Info(), e.Digit, e.How)
	}
}
