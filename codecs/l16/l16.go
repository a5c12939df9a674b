// Package l16 names uncompressed sound: signed 16-bit samples in network byte
// order, channels interleaved (RFC 3551 section 4.5.11). It is what sound is
// converted to for files that hold samples; no call is offered it.
package l16

import "lineout/media"

// Name is the codec's name as SDP writes it.
const Name media.Codec = "L16"

// SampleRate in Hz is the RTP clock that is said for converted sound; a track's
// parameters say at which rate it is.
const SampleRate = 48000

// SampleSize is the length of one sample in bytes.
const SampleSize = 2
