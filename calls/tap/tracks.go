package tap

import (
	"fmt"
	"time"

	"lineout/calls/leg"
	"lineout/media"
	"lineout/pipeline/rtpin"
)

// addTrack maps one negotiated section onto a track: of the codec it has if the
// section still has it, else of its preferred one. It says whether the stream
// has to be told of a new track.
func (t *Tap) addTrack(info leg.TrackInfo) (added *media.Track, err error) {
	if !info.Receive || !t.wants(info.Kind) {
		return nil, nil
	}
	formats := map[uint8]rtpin.Format{}
	var first *leg.Format
	for i, f := range info.Formats {
		codec := t.c.Codecs.Get(f.Codec)
		if codec == nil {
			continue
		}
		if first == nil {
			first = &info.Formats[i]
		}
		formats[f.PayloadType] = rtpin.Format{Codec: codec, ClockRate: f.ClockRate, Fmtp: f.Fmtp}
	}
	if first == nil || covers(t.formats[info.Kind], formats) {
		return nil, nil
	}
	t.formats[info.Kind] = formats
	t.noise[info.Kind] = info.Noise
	codec, rate, channels := first.Codec, first.ClockRate, first.Channels
	if now := t.current[info.Kind]; now != nil {
		for _, f := range formats {
			if f.Codec.Name() == now.Codec && f.ClockRate == now.ClockRate {
				codec, rate, channels = now.Codec, now.ClockRate, now.Channels
			}
		}
	}
	if added, err = t.use(info.Kind, codec, rate, channels); err != nil {
		return nil, fmt.Errorf("receive %s: %w", info.Kind, err)
	}
	t.log.Info("receiving", "track", info.Kind, "codec", codec, "payload_type", first.PayloadType)
	return added, nil
}

// use receives a kind as a track of a codec; one that was used before is used
// again, so that the number of tracks is bounded by that of the codecs.
func (t *Tap) use(k media.Kind, c media.Codec, clockRate, channels int) (added *media.Track, err error) {
	var tr *media.Track
	for _, x := range t.tracks {
		if x.Kind == k && x.Codec == c && x.ClockRate == clockRate {
			tr = x
		}
	}
	if tr == nil {
		tr = t.newTrack(k, c, clockRate, channels)
		added = tr
	}
	t.current[k] = tr
	spec := rtpin.TrackSpec{Track: tr, Formats: t.formats[k], Expected: true}
	if clockRate == noiseRate {
		spec.Noise = t.noise[k]
	}
	return added, t.in.AddTrack(spec)
}

// noiseRate is the clock in Hz of the payload types in TrackInfo.Noise.
const noiseRate = 8000

// retrack follows a change of what was agreed: a section that joins becomes a
// new track, one that left is not waited for any more.
func (t *Tap) retrack() {
	present := map[media.Kind]bool{}
	for _, info := range t.md.Tracks() {
		present[info.Kind] = true
		added, err := t.addTrack(info)
		if err != nil {
			t.log.Warn("change of media not followed", "err", err)
			continue
		}
		if added != nil {
			t.stream.AddTrack(added)
		}
	}
	for _, k := range []media.Kind{media.Audio, media.Video} {
		if t.current[k] != nil && !present[k] {
			t.in.Expect(k, false)
			t.log.Info("the other party ended a track", "track", k)
			delete(t.formats, k) // should it come back it is set up anew
		}
	}
}

// covers says that what is received already reads all of these: a payload type
// keeps its meaning as long as the call lasts (RFC 3264 section 8.3.2). A track
// set up anew would wait for a key frame.
func covers(have, want map[uint8]rtpin.Format) bool {
	for pt, w := range want {
		h, ok := have[pt]
		if !ok || h.Codec.Name() != w.Codec.Name() || h.ClockRate != w.ClockRate {
			return false
		}
	}
	return true
}

func (t *Tap) newTrack(k media.Kind, c media.Codec, clockRate, channels int) *media.Track {
	tr := &media.Track{ID: k.String(), Kind: k, Codec: c, ClockRate: clockRate, Channels: channels}
	if k == media.Video {
		tr.RequestKeyframe = t.requestKeyframe
	}
	t.tracks = append(t.tracks, tr)
	return tr
}

// codecRest is the least time between two changes of a track's codec. Each
// makes sinks begin anew, so a party that alternates must not set the pace.
const codecRest = 2 * time.Second

// changeCodec follows the other party to another of the agreed codecs.
func (t *Tap) changeCodec(k media.Kind, pt uint8, f rtpin.Format) {
	now := time.Now()
	if now.Sub(t.switched[k]) < codecRest {
		return
	}
	t.switched[k] = now
	added, err := t.use(k, f.Codec.Name(), f.ClockRate, t.channels(k, pt))
	if err != nil {
		t.log.Warn("codec change not followed", "track", k, "codec", f.Codec.Name(), "err", err)
		return
	}
	if added != nil {
		t.stream.AddTrack(added)
	}
	t.log.Info("the other party changed its codec", "track", k, "codec", f.Codec.Name(), "payload_type", pt)
}

// channels of a payload type, as agreed.
func (t *Tap) channels(k media.Kind, pt uint8) int {
	for _, info := range t.md.Tracks() {
		for _, f := range info.Formats {
			if info.Kind == k && f.PayloadType == pt {
				return f.Channels
			}
		}
	}
	return 0
}
