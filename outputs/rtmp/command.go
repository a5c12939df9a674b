package rtmp

import (
	"fmt"

	"github.com/bluenviron/gortmplib/pkg/amf0"
)

// command is a command message (RTMP 1.0 section 7.2).
type command struct {
	name string
	id   float64
	args []any // after name and transaction id
}

// parseCommand reads a command message. Servers leave out the transaction id
// (ffmpeg's onFCPublish), so only the name is required.
func parseCommand(m message) (command, error) {
	body := m.body
	if m.typ == typeCommandAMF3 && len(body) > 0 {
		// An AMF3 command is AMF0 after one format byte, as servers send it.
		body = body[1:]
	}
	values, err := amf0.Unmarshal(body)
	if err != nil {
		return command{}, fmt.Errorf("read an RTMP command: %w", err)
	}
	if len(values) == 0 {
		return command{}, fmt.Errorf("read an RTMP command: it is empty")
	}
	c := command{}
	var ok bool
	if c.name, ok = values[0].(string); !ok {
		return command{}, fmt.Errorf("read an RTMP command: its name is a %T", values[0])
	}
	if len(values) > 1 {
		c.id, _ = values[1].(float64)
		c.args = values[2:]
	}
	return c, nil
}

// info returns level, code and description of the information object of an
// onStatus, _result or _error (section 7.2.1.1); what is missing is "".
func (c command) info() (level, code, description string) {
	for _, a := range c.args {
		var o amf0.Object
		switch v := a.(type) {
		case amf0.Object:
			o = v
		case amf0.ECMAArray:
			o = amf0.Object(v)
		default:
			continue
		}
		if s, ok := o.GetString("code"); ok {
			code = s
			level, _ = o.GetString("level")
			description, _ = o.GetString("description")
			return level, code, description
		}
	}
	return "", "", ""
}

// number is the last argument as a number: the stream id of createStream.
func (c command) number() (float64, bool) {
	if len(c.args) == 0 {
		return 0, false
	}
	n, ok := c.args[len(c.args)-1].(float64)
	return n, ok
}
