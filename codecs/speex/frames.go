package speex

const (
	// MaxFrames is the longest packet that is taken, 200 ms (RFC 3551 section
	// 4.2): what a receiver should be ready for.
	MaxFrames = 10
	// MaxPacket is the largest one in bytes; ten frames of the best modes with
	// both wider bands have 1495.
	MaxPacket = 1500

	// maxLayers is how many layers for wider bands may follow a frame: one up
	// to 8 kHz and one up to 16 kHz.
	maxLayers = 2
)

// Sizes in bits by mode, with the bit and the mode number they begin with (The
// Speex Codec Manual, sections 9 and 10); 0: no such mode.
var (
	narrowBits = [9]int{5, 43, 119, 160, 220, 300, 364, 492, 79}
	layerBits  = [8]int{4, 36, 112, 192, 352}
)

// Mode numbers that are no frame.
const (
	modeUser       = 13 // a message of the application
	modeRequest    = 14 // a request to the other side's encoder or decoder
	modeTerminator = 15
)

// requestBits is the size of the argument of each request.
var requestBits = [16]int{1, 1, 4, 4, 4, 4, 4, 4, 8, 8, 16, 16, 32, 32, 64, 64}

// Frames is how many frames of 20 ms a packet holds. It is 0 for a packet that
// a decoder must not see: one that is empty, too long, cut off within a frame,
// or has a mode that does not exist.
func Frames(packet []byte) int {
	var f [MaxFrames]frame
	return split(packet, &f)
}

// frame is where a frame and its layer for the band up to 8 kHz lie, in bits.
type frame struct{ from, to int }

// split finds the frames of a packet and returns how many there are, see Frames.
func split(packet []byte, into *[MaxFrames]frame) int {
	if len(packet) > MaxPacket {
		return 0
	}
	r := bits{data: packet}
	frames, layers := 0, 0
	for r.left() >= 5 {
		from := r.at
		if r.read(1) == 1 {
			if layers++; frames == 0 || layers > maxLayers || !r.skip(layerBits[r.read(3)]-4) {
				return 0
			}
			if layers == 1 && from == into[frames-1].to {
				into[frames-1].to = r.at
			}
			continue
		}
		switch mode := r.read(4); {
		case mode == modeTerminator:
			return frames
		case mode == modeRequest:
			if r.left() < 4 || !r.skip(requestBits[r.read(4)]) {
				return 0
			}
		case mode == modeUser:
			if r.left() < 4 || !r.skip(5+8*r.read(4)) {
				return 0
			}
		default:
			if frames == MaxFrames || mode >= len(narrowBits) || !r.skip(narrowBits[mode]-5) {
				return 0
			}
			into[frames] = frame{from, r.at}
			frames, layers = frames+1, 0
		}
	}
	// Padding begins with 0 (RFC 5574 section 3.3); 1 would begin a layer.
	if r.left() > 0 && r.read(1) == 1 {
		return 0
	}
	return frames
}

// maxFrame is the size in bytes of the largest frame with its layer, padded.
const maxFrame = (492 + 352 + 7) / 8

// alone writes a frame of a packet as a packet of its own, padded, to dst and
// returns its length in bytes.
func (f frame) alone(dst *[maxFrame]byte, packet []byte) int {
	n := (f.to - f.from + 7) / 8
	shift := f.from & 7
	for i := range n {
		at := f.from>>3 + i
		dst[i] = packet[at] << shift
		if at+1 < len(packet) {
			dst[i] |= packet[at+1] >> (8 - shift)
		}
	}
	if pad := 8*n - (f.to - f.from); pad > 0 {
		dst[n-1] = dst[n-1]>>pad<<pad | 1<<(pad-1) - 1
	}
	return n
}

// bits reads a packet from its most significant bit on.
type bits struct {
	data []byte
	at   int
}

func (b *bits) left() int { return 8*len(b.data) - b.at }

// read returns the next n bits, which must be left.
func (b *bits) read(n int) int {
	v := 0
	for range n {
		v = v<<1 | int(b.data[b.at>>3]>>(7-b.at&7)&1)
		b.at++
	}
	return v
}

// skip is false if n is negative or more than is left.
func (b *bits) skip(n int) bool {
	if n < 0 || n > b.left() {
		return false
	}
	b.at += n
	return true
}
