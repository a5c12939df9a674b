package doctor

import (
	"fmt"
	"math"
	"net"
	"strconv"
	"strings"

	"github.com/pion/sdp/v3"

	"lineout/calls"
	"lineout/calls/trace"
)

// description is one side's session description as far as it is compared.
type description struct{ sections []sideOf }

type sideOf struct {
	kind string
	Side
	names []string // of codecs, upper case, in order; telephone-event left out
}

func (d *description) section(kind string) *sideOf {
	if d == nil {
		return nil
	}
	for i := range d.sections {
		if d.sections[i].kind == kind {
			return &d.sections[i]
		}
	}
	return nil
}

// static are the payload types that need no rtpmap (RFC 3551 section 6).
var static = map[string]string{"0": "PCMU/8000", "3": "GSM/8000", "4": "G723/8000", "8": "PCMA/8000", "9": "G722/8000", "15": "G728/8000", "18": "G729/8000", "34": "H263/90000"}

// descriptions are ours and the other side's newest.
func (r *Report) descriptions(s trace.Snapshot) (ours, theirs *description) {
	for _, m := range s.Messages {
		_, body, _ := strings.Cut(m.Text, "\r\n\r\n")
		if !strings.HasPrefix(body, "v=0") {
			continue
		}
		d := parse(body)
		switch {
		case d == nil:
		case m.Sent:
			ours = d
		default:
			theirs = d
		}
	}
	return ours, theirs
}

// parse reads a description; nil when it is none.
func parse(text string) *description {
	var in sdp.SessionDescription
	if in.UnmarshalString(text) != nil {
		return nil
	}
	d := &description{}
	for _, m := range in.MediaDescriptions {
		s := sideOf{kind: m.MediaName.Media}
		at := ""
		if c := in.ConnectionInformation; c != nil && c.Address != nil {
			at = c.Address.Address
		}
		if c := m.ConnectionInformation; c != nil && c.Address != nil {
			at = c.Address.Address
		}
		port := m.MediaName.Port.Value
		s.Address = net.JoinHostPort(at, strconv.Itoa(port))
		s.Direction = "sendrecv"
		if port == 0 {
			s.Direction = "refused"
		}
		maps, params := map[string]string{}, map[string]string{}
		for _, a := range append(in.Attributes, m.Attributes...) {
			pt, rest, _ := strings.Cut(a.Value, " ")
			switch a.Key {
			case "sendrecv", "sendonly", "recvonly", "inactive":
				if port != 0 {
					s.Direction = a.Key
				}
			case "rtpmap":
				maps[pt] = rest
			case "fmtp":
				params[pt] = rest
			}
		}
		for _, pt := range m.MediaName.Formats {
			name := maps[pt]
			if name == "" {
				name = static[pt]
			}
			text := pt + " " + name
			if p := params[pt]; p != "" {
				text += " " + p
			}
			s.Formats = append(s.Formats, strings.TrimSpace(text))
			codec, _, _ := strings.Cut(name, "/")
			if codec = strings.ToUpper(codec); codec != "" && codec != "TELEPHONE-EVENT" {
				s.names = append(s.names, codec)
			}
		}
		d.sections = append(d.sections, s)
	}
	return d
}

// sections compares ours with theirs.
func (r *Report) sections(ours, theirs *description, st calls.Stats) {
	if ours == nil && theirs == nil {
		return
	}
	for _, kind := range []string{"audio", "video"} {
		a, b := ours.section(kind), theirs.section(kind)
		if a == nil && b == nil {
			continue
		}
		s := Section{Kind: kind, Offer: Side{Formats: []string{}}, Answer: Side{Formats: []string{}}}
		if a != nil {
			s.Offer = a.Side
		}
		if b != nil {
			s.Answer = b.Side
		}
		for _, t := range st.Tracks {
			if t.Kind.String() == kind {
				s.Codec = string(t.Codec)
			}
		}
		s.Why = why(a, b, s.Codec)
		r.SDP = append(r.SDP, s)
	}
}

// why explains the choice of a codec.
func why(ours, theirs *sideOf, codec string) string {
	switch {
	case theirs == nil:
		return "the other side has not described this medium"
	case ours == nil:
		return "this server does not have this medium"
	case theirs.Direction == "refused":
		return "the other side refused this medium (port 0)"
	case codec == "":
		if foreign := unknown(ours, theirs); len(foreign) == len(theirs.names) && len(foreign) > 0 {
			return "none: the other side has " + strings.Join(foreign, ", ") + " only, which was not offered"
		}
		return "none is in use"
	}
	position := ""
	for i, n := range theirs.names {
		if strings.EqualFold(n, codec) {
			position = ordinal(i)
			break
		}
	}
	if position == "" {
		return codec + " is what the other side sends, although its description does not list it"
	}
	return fmt.Sprintf("%s is the %s codec of the other side's list that was offered", codec, position)
}

func ordinal(i int) string {
	if i < 3 {
		return [...]string{"first", "second", "third"}[i]
	}
	return strconv.Itoa(i+1) + "th"
}

// unknown lists codecs of theirs that ours does not have.
func unknown(ours, theirs *sideOf) (out []string) {
	have := map[string]bool{}
	for _, n := range ours.names {
		have[n] = true
	}
	for _, n := range theirs.names {
		if !have[n] {
			out = append(out, n)
		}
	}
	return out
}

// round keeps two digits. JSON knows no other numbers than finite ones.
func round(v float64) float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return 0
	}
	return math.Round(v*100) / 100
}
