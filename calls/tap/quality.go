package tap

import (
	"lineout/pipeline"
	"lineout/pipeline/rtpin"
)

// quality is what outputs may know of how well the call is received.
func (t *Tap) quality() pipeline.Quality {
	st := t.stats.Load()
	if st == nil {
		return pipeline.Quality{Sync: string(rtpin.SyncNone)}
	}
	return pipeline.Quality{Sync: string(st.Sync), SyncError: st.SyncError,
		OffsetP50: st.OffsetP50, OffsetP99: st.OffsetP99, OffsetMax: st.OffsetMax, DriftPPM: st.DriftPPM, Jumps: st.Jumps,
		Audio: trackQuality(st.Audio), Video: trackQuality(st.Video)}
}

func trackQuality(t rtpin.TrackStats) pipeline.TrackQuality {
	return pipeline.TrackQuality{Packets: t.Packets, Lost: t.Lost, Late: t.Late, Damaged: t.Damaged, Dropped: t.Dropped,
		KeyframeRequests: t.KeyframeRequests, Jitter: t.Jitter,
		Concealed: t.Concealed, Filler: t.FillerTime, Freezes: t.Freezes, FreezeTime: t.FreezeTime}
}
