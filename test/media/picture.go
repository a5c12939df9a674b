package media

import "math/bits"

// Shape of the clips.
const (
	Width   = 640
	Height  = 360
	FPS     = 25
	Seconds = 30
	Frames  = Seconds * FPS // frame numbers run from 0 to Frames-1, then again

	flashFrames = 2
	cells       = 20
	black       = 16 // limited range, ITU-R BT.601
	white       = 235
	grey        = 60
)

// bars is the bar code of frame number n, one bool per cell, true for white.
func bars(n int) (c [cells]bool) {
	v := uint16(n)
	c[0] = true
	for i := range 16 {
		c[2+i] = v>>(15-i)&1 == 1
	}
	c[18] = bits.OnesCount16(v)%2 == 0
	c[19] = true
	return c
}

// drawFrame fills i420 (Width*Height*3/2 bytes) with frame n of a clip.
func drawFrame(i420 []byte, n int) {
	y := i420[:Width*Height]
	u := i420[Width*Height : Width*Height*5/4]
	v := i420[Width*Height*5/4 : Width*Height*3/2]
	for i := range y {
		y[i] = grey
	}
	for i := range u {
		u[i], v[i] = 128, 128
	}
	if n%FPS < flashFrames {
		fill(y, 0, 0, Width, Height*2/3, white)
	}
	// Grain as a camera's keeps the bit rate near what the encoder may use.
	seed := uint32(n)*2654435761 + 1
	for i := Height * 2 / 3 * Width; i < (Height-Height/9)*Width; i++ {
		seed ^= seed << 13
		seed ^= seed >> 17
		seed ^= seed << 5
		y[i] += byte(seed >> 28)
	}
	// A moving box gives the encoder something to predict and the eye something to follow.
	const box = 30
	bx, by := n*7%(Width-box)&^1, Height*2/3+4
	fill(y, bx, by, box, box, 120)
	for r := by / 2; r < (by+box)/2; r++ {
		for c := bx / 2; c < (bx+box)/2; c++ {
			u[r*Width/2+c], v[r*Width/2+c] = 190, 90
		}
	}
	drawNumber(y, n%Frames, Width/2-50, Height*2/3+38, 18, 36)
	strip, cell := Height/9, Width/cells
	for i, on := range bars(n) {
		shade := byte(black)
		if on {
			shade = white
		}
		fill(y, i*cell, Height-strip, cell, strip, shade)
	}
}

func fill(y []byte, x0, y0, w, h int, shade byte) {
	for r := y0; r < y0+h; r++ {
		row := y[r*Width+x0 : r*Width+x0+w]
		for i := range row {
			row[i] = shade
		}
	}
}

// segments of the digits 0 to 9 on a seven-segment display: bit 0 is the top,
// then clockwise, bit 6 the middle.
var segments = [10]byte{0x3f, 0x06, 0x5b, 0x4f, 0x66, 0x6d, 0x7d, 0x07, 0x7f, 0x6f}

// drawNumber writes n (below 10000) with digits of w by h pixels, for the eye of whoever looks at a screenshot.
func drawNumber(y []byte, n, x0, y0, w, h int) {
	const pen = 4
	for i, div := range []int{1000, 100, 10, 1} {
		s, x := segments[n/div%10], x0+i*(w+8)
		for b, r := range [7][4]int{
			{0, 0, w, pen}, {w - pen, 0, pen, h / 2}, {w - pen, h / 2, pen, h / 2}, {0, h - pen, w, pen},
			{0, h / 2, pen, h / 2}, {0, 0, pen, h / 2}, {0, h/2 - pen/2, w, pen},
		} {
			if s>>b&1 == 1 {
				fill(y, x+r[0], y0+r[1], r[2], r[3], white)
			}
		}
	}
}

// Measuring pictures are scaled down to lookW x lookH grey pixels: a cell of the bar code is 8 x 10 of them.
const (
	lookW = 160
	lookH = 90
)

// readFrame finds the frame number (-1 when the bar code cannot be read) and
// whether the flash is on, in a grey picture of lookW x lookH pixels.
func readFrame(p []byte) (number int, flash bool) {
	var level [cells]int
	for c := range level {
		for _, r := range [3]int{83, 85, 87} {
			for x := c*8 + 2; x < c*8+6; x++ {
				level[c] += int(p[r*lookW+x])
			}
		}
		level[c] /= 12
	}
	number = -1
	if level[0] > 150 && level[1] < 100 && level[19] > 150 {
		threshold := (level[0] + level[1]) / 2
		var v uint16
		for _, l := range level[2:18] {
			v <<= 1
			if l > threshold {
				v |= 1
			}
		}
		if (bits.OnesCount16(v)%2 == 0) == (level[18] > threshold) {
			number = int(v)
		}
	}
	sum, n := 0, 0
	for _, r := range [3]int{10, 30, 50} {
		for x := 20; x < 140; x++ {
			sum += int(p[r*lookW+x])
			n++
		}
	}
	return number, sum/n > 150
}
