package media

import "math"

// flash is the beginning of one, with the second of the clip it stands for (-1: unknown).
type flash struct {
	at     float64
	second int
}

// fill evaluates the frames and returns the flashes among them.
func (v *Video) fill(fs []frame) []flash {
	v.Frames, v.First, v.Last = len(fs), -1, -1
	if len(fs) == 0 {
		return nil
	}
	v.Start, v.End = fs[0].at, fs[len(fs)-1].at
	for i := 1; i < len(fs); i++ {
		step := fs[i].at - fs[i-1].at
		v.MaxGapMillis = max(v.MaxGapMillis, math.Round(step*1000))
		if step <= 0 {
			v.NotForward++
		}
	}
	v.count(fs)
	out := flashes(fs)
	v.Flashes = len(out)
	return out
}

// count follows the frame numbers.
func (v *Video) count(fs []frame) {
	var last frame
	var shown, took float64 // frames of the clip, seconds of the input, over all runs without a restart
	for _, f := range fs {
		if f.number < 0 {
			continue
		}
		v.Numbered++
		if v.Numbered == 1 {
			v.First, last = f.number, f
			continue
		}
		switch d := f.number - last.number; {
		case d == 0:
			v.Repeated++
			took += f.at - last.at
		case d > 0:
			v.Lost += d - 1
			shown += float64(d)
			took += f.at - last.at
		case f.number < 3*FPS && -d > 4*FPS:
			v.Restarts++
		default:
			v.Backward++
		}
		last = f
	}
	if v.Numbered > 0 {
		v.Last = last.number
	}
	if took > 2 {
		v.Speed = math.Round(shown/FPS/took*1e4) / 1e4
	}
}

func flashes(fs []frame) (out []flash) {
	on := true // a flash that was on at the first frame began before it
	for i, f := range fs {
		if f.flash && (!on || i == 0 && f.number >= 0 && f.number%FPS == 0) {
			switch {
			case f.number < 0:
				out = append(out, flash{f.at, -1})
			case f.number%FPS == 0:
				out = append(out, flash{f.at, f.number / FPS})
			case f.number%FPS < flashFrames: // its first frame is missing
				out = append(out, flash{f.at - float64(f.number%FPS)/FPS, f.number / FPS})
			}
		}
		on = f.flash
	}
	return out
}
