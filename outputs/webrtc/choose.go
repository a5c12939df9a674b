package webrtc

import (
	"errors"
	"fmt"

	"github.com/pion/webrtc/v4"

	"lineout/api/fault"
	"lineout/codecs"
	"lineout/media"
)

// choice is what a viewer gets: empty means the kind is not sent.
type choice struct{ audio, video media.Codec }

// choose settles the codecs of both kinds and marks the offer's sections.
// Pass-through wins over any conversion. A kind the stream does not have, or
// has in no codec the player knows, is rejected in the answer and the other
// one plays (S2-46).
func choose(o *offer, audio, video *media.Track, t *codecs.Table) (choice, error) {
	var c choice
	missing := errors.New("the player asks for no kind of media the stream has")
	for _, tr := range []*media.Track{audio, video} {
		if tr == nil {
			continue
		}
		s := o.find(tr.Kind)
		if s == nil {
			continue
		}
		to, pt, err := chooseCodec(s, tr, t)
		if err != nil {
			missing = fmt.Errorf("%s: %w", tr.Kind, err)
			continue
		}
		s.chosen = pt
		if tr.Kind == media.Audio {
			c.audio = to
		} else {
			c.video = to
		}
	}
	if c == (choice{}) {
		info := "No common codecs"
		if disabled := (*codecs.DisabledError)(nil); errors.As(missing, &disabled) {
			info = codecs.DisabledInfo
		}
		return c, &PlayError{Info: info, Code: fault.BadRequest,
			Err: fmt.Errorf("no common codecs: %w", missing)}
	}
	return c, nil
}

// chooseCodec plans one track. What the player lists is in its order of
// preference; the stream's own codec counts only in the form the stream has.
func chooseCodec(s *section, tr *media.Track, t *codecs.Table) (media.Codec, *offered, error) {
	var accepts []media.Codec
	pts := map[media.Codec]*offered{}
	for _, c := range s.codecs {
		for _, k := range t.All() {
			if k.Kind() != tr.Kind || pts[k.Name()] != nil {
				continue
			}
			clock, params := k.ClockRate(), (*media.Params)(nil)
			if k.Name() == tr.Codec {
				clock, params = tr.ClockRate, tr.Params()
			}
			if pt := s.pick(k.Name(), clock, params); pt != nil && pt.pt == c.pt {
				accepts = append(accepts, k.Name())
				pts[k.Name()] = pt
			}
		}
	}
	conv, err := t.Plan(tr.Codec, accepts, true)
	switch {
	case err != nil:
		return "", nil, err
	case conv == nil:
		return tr.Codec, pts[tr.Codec], nil
	case conv.To == tr.Codec: // encoded anew: the source's profile is gone
		return conv.To, s.pick(conv.To, conv.ClockRate, nil), nil
	}
	return conv.To, pts[conv.To], nil
}

// parameters is the chosen codec as pion wants it, with the feedback both
// sides know.
func (c *offered) parameters(k media.Kind) webrtc.RTPCodecParameters {
	p := webrtc.RTPCodecParameters{
		PayloadType: webrtc.PayloadType(c.pt),
		RTPCodecCapability: webrtc.RTPCodecCapability{
			MimeType: k.String() + "/" + c.name, ClockRate: uint32(c.clock), SDPFmtpLine: c.fmtp,
		},
	}
	if c.channels > 1 {
		p.Channels = uint16(c.channels)
	}
	for _, f := range c.feedback {
		switch f {
		case "nack":
			p.RTCPFeedback = append(p.RTCPFeedback, webrtc.RTCPFeedback{Type: "nack"})
		case "nack pli":
			p.RTCPFeedback = append(p.RTCPFeedback, webrtc.RTCPFeedback{Type: "nack", Parameter: "pli"})
		case "ccm fir":
			p.RTCPFeedback = append(p.RTCPFeedback, webrtc.RTCPFeedback{Type: "ccm", Parameter: "fir"})
		}
	}
	return p
}
