package calls

import (
	"sync/atomic"

	"lineout/calls/leg"
)

// follow is the media of one side of a user's call for those who listen in
// (tap.Source): it stays when the side is replaced by another.
type follow struct{ now atomic.Pointer[leg.Forwarder] }

func (f *follow) set(md leg.Forwarder)    { f.now.Store(&md) }
func (f *follow) get() leg.Forwarder      { return *f.now.Load() }
func (f *follow) Tracks() []leg.TrackInfo { return f.get().Tracks() }
func (f *follow) RequestKeyframe()        { f.get().RequestKeyframe() }
func (f *follow) KeyframeCame()           { f.get().KeyframeCame() }
