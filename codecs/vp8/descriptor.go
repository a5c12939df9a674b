package vp8

// descriptor is the VP8 payload descriptor (RFC 7741 section 4.2).
type descriptor struct {
	start     bool // first packet of a partition
	partition byte // 0 to 7
	// pictureID is 7 or 15 bits, -1 when absent.
	pictureID int
	// length is that of the descriptor in bytes.
	length int
}

// parseDescriptor refuses a payload that is cut off, or has nothing after the
// descriptor.
func parseDescriptor(b []byte) (d descriptor, ok bool) {
	if len(b) < 2 {
		return d, false
	}
	d = descriptor{start: b[0]&0x10 != 0, partition: b[0] & 7, pictureID: -1, length: 1}
	if b[0]&0x80 == 0 {
		return d, true
	}
	ext := b[1]
	d.length = 2
	if ext&0x80 != 0 { // I: PictureID
		if len(b) <= d.length {
			return d, false
		}
		d.pictureID = int(b[d.length] & 0x7f)
		if b[d.length]&0x80 != 0 { // M: 15 bits
			if d.length++; len(b) <= d.length {
				return d, false
			}
			d.pictureID = d.pictureID<<8 | int(b[d.length])
		}
		d.length++
	}
	if ext&0x40 != 0 { // L: TL0PICIDX
		d.length++
	}
	if ext&0x30 != 0 { // T or K: one byte for TID, Y and KEYIDX
		d.length++
	}
	return d, len(b) > d.length
}
