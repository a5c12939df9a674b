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
	// Disagreement is how far sender reports contradict arrival, used or not.
	// RTP alone cannot tell which of them is right, and so bounds what the
	// offset of the contents may be beyond SyncError.
	Disagreement time.Duration
	// SyncError is how far video still is from where the estimate wants it;
	// positive: it has to be moved later.
	SyncError time.Duration
	// OffsetP50, OffsetP99 and OffsetMax are of the size of SyncError over all
	// pictures handed on since there are two tracks: the offset of sound and
	// picture as far as it is known. To the millisecond below 64 ms.
	OffsetP50, OffsetP99, OffsetMax time.Duration
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
	// Ignored packets carry no media of this track: telephone-event, another
	// codec. OtherCodec are those of another negotiated codec,
	// CodecChanges counts runs of them.
	Ignored, OtherCodec, CodecChanges uint64
	// Noise are packets that describe silence (RFC 3389).
	Noise uint64
	// Jitter is the interarrival jitter of RFC 3550 section 6.4.1.
	Jitter time.Duration
	// Frames were handed on; Gaps of them follow a loss, Filler are generated.
	Frames, Gaps, Filler uint64
	// FillerTime is the length of the filler. Concealed is the length of the
	// holes that were left in the sound, which outputs had to fill with
	// something: what was lost, and silence that was not sent.
	FillerTime, Concealed time.Duration
	// Freezes are pictures that came later than 3 usual intervals and than one
	// and 150 ms, as in WebRTC's freezeCount; FreezeTime is the length of these intervals.
	Freezes    uint64
	FreezeTime time.Duration
	// Damaged access units missed packets; Dropped ones were whole, but no
	// decoder could use them without the key frame waited for.
	Damaged, Dropped uint64
	// Trimmed audio frames came before the first picture of the stream.
	Trimmed uint64
	// Restamped frames had to be moved because time did not increase.
	Restamped uint64
	// KeyframeRequests were sent because pictures could not be decoded, repeats
	// included. KeyframeAnswers are the key frames that ended such a want,
	// KeyframeWait the time from each first request to its answer, added up.
	KeyframeRequests, KeyframeAnswers uint64
	KeyframeWait                      time.Duration
	// SSRCChanges, Restarts (of the numbering, including the former) and
	// TimestampJumps count what the sender did.
	SSRCChanges, Restarts, TimestampJumps uint64
	// SenderReports counts those received, RefusedReports those not believed.
	SenderReports, RefusedReports uint64
	// Held is what waits in rtp_in_buffer.
	HeldFrames, HeldBytes int
}

// KeyframeAnswer is the mean time from a request to the key frame, 0 without any.
func (t *TrackStats) KeyframeAnswer() time.Duration {
	if t.KeyframeAnswers == 0 {
		return 0
	}
	return t.KeyframeWait / time.Duration(t.KeyframeAnswers)
}

// Stats returns a snapshot. It allocates nothing.
func (in *Input) Stats() Stats {
	s := Stats{
		Unexpected:       in.unknown,
		Sync:             in.sync.mode,
		SenderCorrection: in.sync.bias,
		Disagreement:     in.sync.apart,
		SyncError:        in.sync.err,
		OffsetP50:        in.offsets.quantile(.5),
		OffsetP99:        in.offsets.quantile(.99),
		OffsetMax:        in.offsets.max,
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
