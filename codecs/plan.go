package codecs

import (
	"errors"
	"fmt"
	"slices"

	"lineout/media"
)

// Rules are the settings that say what may be converted.
type Rules struct {
	NoConversion     bool     `setting:"transcoding_disabled" default:"false" doc:"Convert nothing: a player, push or recording that would need another codec than the call's does without that track."`
	NoPassThrough    bool     `setting:"disable_streaming_proxy" default:"false" doc:"Encode sound and picture anew for every player and push, also where the call's codec would do; costs CPU and needs ffmpeg for pictures. Recordings are not affected."`
	ExcludeStreaming []string `setting:"codecs_exclude_streaming" default:"flv,telephone-event" doc:"Codecs not used towards WebRTC players, RTMP and HLS, by the names that codecs has; without h264, for instance, browsers get VP8."`
}

// Validate reports settings that contradict each other.
func (r *Rules) Validate() error {
	if r.NoConversion && r.NoPassThrough {
		return errors.New("transcoding_disabled and disable_streaming_proxy are both true: nothing could be played, since one forbids to convert and the other not to; set one of them to false")
	}
	return nil
}

// With returns the table under rules. Names of ExcludeStreaming that mean
// nothing are returned for a warning.
func (t *Table) With(r Rules) (*Table, []string) {
	c := *t
	c.rules, c.excluded = r, map[media.Codec]bool{}
	var unknown []string
	for _, n := range r.ExcludeStreaming {
		if codec, known := Named(n); known {
			c.excluded[codec] = true
		} else {
			unknown = append(unknown, n)
		}
	}
	return &c, unknown
}

// Plan says how a track of codec have reaches a sink that accepts these codecs,
// best first. Pass-through (a nil Converter) always wins, whatever the order,
// because not to encode is cheaper and better than any encode.
//
// For streaming sinks, which is all but files, the rules may leave codecs out
// and turn pass-through into an encode of the same codec where there is one,
// else of another. Errors are *DisabledError and *NoPathError.
func (t *Table) Plan(have media.Codec, accepts []media.Codec, streaming bool) (*Converter, error) {
	if streaming && len(t.excluded) > 0 {
		accepts = slices.DeleteFunc(slices.Clone(accepts), func(c media.Codec) bool { return t.excluded[c] })
	}
	pass := slices.Contains(accepts, have)
	if pass && !(streaming && t.rules.NoPassThrough) {
		return nil, nil
	}
	if t.rules.NoConversion {
		return nil, &DisabledError{Have: have, Want: accepts}
	}
	if pass {
		if c := t.converter(have, have); c != nil {
			return c, nil
		}
	}
	for _, a := range accepts {
		if c := t.converter(have, a); c != nil {
			return c, nil
		}
	}
	if pass {
		return nil, nil
	}
	return nil, &NoPathError{Have: have, Want: accepts}
}

// Converts says whether there is a conversion from one codec to another.
func (t *Table) Converts(from, to media.Codec) bool { return t.converter(from, to) != nil }

// converter returns the first conversion from one codec to another, nil if
// there is none. Those of a codec to itself are only for Rules.NoPassThrough.
func (t *Table) converter(from, to media.Codec) *Converter {
	for i := range t.converters {
		if c := &t.converters[i]; c.From == from && c.To == to {
			return c
		}
	}
	return nil
}

// NoPathError says that no conversion leads from a track to what a sink takes.
type NoPathError struct {
	Have media.Codec
	Want []media.Codec
}

func (e *NoPathError) Error() string {
	if len(e.Want) == 0 {
		return fmt.Sprintf("the stream has %s, and nothing the other side takes is left by codecs_exclude_streaming", e.Have)
	}
	return fmt.Sprintf("the stream has %s, wanted is one of %v, and this build has no conversion between them", e.Have, e.Want)
}

// DisabledError says that a sink would need a conversion and the rules forbid
// any. Its text is what players of the browser SDK look for.
type DisabledError struct {
	Have media.Codec
	Want []media.Codec
}

// DisabledInfo is the status text a player of the browser SDK gets.
const DisabledInfo = "Transcoding required, but disabled"

func (e *DisabledError) Error() string {
	return fmt.Sprintf("%s: the stream has %s, wanted is one of %v, and transcoding_disabled is true", DisabledInfo, e.Have, e.Want)
}
