package hls

import (
	"fmt"
	"time"

	"lineout/codecs/aac"
	"lineout/media"
)

// maxHole is the longest pause of the pictures that stays one segment. After
// a longer one, such as a held call, the playlist has a discontinuity.
func (s *sink) maxHole() time.Duration { return max(5*time.Second, 3*s.p.o.cfg.SegmentDuration) }

// cuts says whether the muxer will end the segment before a key frame that is
// decoded at a time.
func (s *sink) cuts(at time.Duration) bool {
	return s.segment >= 0 && at-s.segment >= s.p.o.cfg.SegmentDuration
}

// hasSound says that the open segment has sound. One without would be an audio
// segment without samples, which players take for damage.
func (s *sink) hasSound() bool {
	return s.gen.audio == nil || s.sound-s.segment >= 4*frameTime
}

// frameTime is the length of an AAC frame.
const frameTime = time.Second * aac.FrameSize / aac.SampleRate

// fillSound puts silence at the begin of a segment that ends without sound.
// Two frames are written because the muxer keeps the newest.
func (s *sink) fillSound() error {
	if s.silent == nil {
		unit, err := silentUnit(s.audio)
		if err != nil {
			return err
		}
		s.silent = [][]byte{unit}
	}
	at := max(s.sound, s.segment) + frameTime
	for range 2 {
		if err := s.gen.mux.WriteMPEG4Audio(s.gen.audio, s.epoch.Add(at), ticks(at, s.rate), s.silent); err != nil {
			return fmt.Errorf("HLS: silence: %w", err)
		}
		s.sound, at = at, at+frameTime
	}
	return nil
}

// silentUnit encodes an access unit of silence that fits a track.
func silentUnit(p *media.Params) ([]byte, error) {
	e, err := aac.NewEncoder(aac.EncoderConfig{SampleRate: p.SampleRate, Channels: p.Channels, Bitrate: 32000})
	if err != nil {
		return nil, fmt.Errorf("HLS: silence: %w", err)
	}
	zero := make([][]float32, p.Channels)
	for i := range zero {
		zero[i] = make([]float32, aac.FrameSize)
	}
	var unit []byte
	for range 5 { // the first calls return nothing
		if unit, err = e.Encode(nil, zero); err != nil {
			return nil, fmt.Errorf("HLS: silence: %w", err)
		}
	}
	return unit, nil
}
