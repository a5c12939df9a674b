package rtpin

import (
	"time"

	"lineout/media"
)

// Stats is a snapshot of an Input.
type Stats struct {
	// Audio and Video are zero for a track that was not added.
	Audio, Video TrackStats
	// Unexpected counts packets of a kind without a track.
	Unexpected uint64

	Sync SyncMode
	// SenderCorrection is what sender reports add to video's offset over what
	// arrival times say.
	SenderCorrection time.Duration
	// SyncError is how far video still is from where the estimate wants it;
	// positive: it has to be moved later.
	SyncError time.Duration
	// DriftPPM is how fast the audio sender's wall clock runs ahead of its
	// audio clock, from its sender reports, in parts per million.
	DriftPPM float64
	// Jumps counts corrections of video's offset too large to be slewed.
	Jumps uint64
}

// TrackStats counts what happened to one track.
type TrackStats struct {
	Packets, Bytes uint64
	// Lost packets never came in time; Late ones came after that, Duplicates
	// twice, Reordered ones were overtaken but in time.
	Lost, Late, Duplicates, Reordered uint64
	// Refused packets belonged to another sender, or fitted nowhere.
	Refused uint64
	// Ignored packets carry no media of this track: telephone-event, comfort
	// noise, another codec. OtherCodec are those of another negotiated codec,
	// CodecChanges counts runs of them.
	Ignored, OtherCodec, CodecChanges uint64
	// Jitter is the interarrival jitter of RFC 3550 section 6.4.1.
	Jitter time.Duration
	// Frames were handed on; Gaps of them follow a loss, Filler are generated.
	Frames, Gaps, Filler uint64
	// Damaged access units missed packets; Dropped ones were whole, but no
	// decoder could use them without the key frame waited for.
	Damaged, Dropped uint64
	// Trimmed audio frames came before the first picture of the stream.
	Trimmed uint64
	// Restamped frames had to be moved because time did not increase.
	Restamped        uint64
	KeyframeRequests uint64
	// SSRCChanges, Restarts (of the numbering, including the former) and
	// TimestampJumps count what the sender did.
	SSRCChanges, Restarts, TimestampJumps uint64
	// SenderReports counts those received, RefusedReports those not believed.
	SenderReports, RefusedReports uint64
	// Held is what waits in rtp_in_buffer.
	HeldFrames, HeldBytes int
}

// Stats returns a snapshot. It allocates nothing.
func (in *Input) Stats() Stats {
	s := Stats{
		Unexpected:       in.unknown,
		Sync:             in.sync.mode,
		SenderCorrection: in.sync.bias,
		SyncError:        in.sync.err,
		Jumps:            in.sync.jumps,
	}
	if t := in.tracks[media.Audio]; t != nil {
		s.Audio = t.snapshot()
		if t.snd.n >= senderMin {
			s.DriftPPM = t.snd.line.slope * 1e6
		}
	}
	if t := in.tracks[media.Video]; t != nil {
		s.Video = t.snapshot()
	}
	return s
}

func (t *trackInput) snapshot() TrackStats {
	s := t.stats
	s.Lost, s.Late = t.jb.stats.lost, s.Late+t.jb.stats.late
	s.Duplicates, s.Reordered = t.jb.stats.duplicates, t.jb.stats.reordered
	s.Refused = t.src.refused
	s.Jitter = t.src.clock.jitter
	s.SSRCChanges, s.Restarts, s.TimestampJumps = t.src.ssrcChanges, t.src.restarts, t.src.tsJumps
	s.RefusedReports = t.snd.refused
	s.HeldFrames, s.HeldBytes = t.queue.n, t.queue.bytes
	return s
}
