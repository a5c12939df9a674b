package h264

import "encoding/binary"

// KeyframeBegins implements codecs.Peeker: the payload holds an IDR slice, its
// first fragment, or the SPS that comes before it (RFC 6184 sections 5.6 to 5.8).
func (codec) KeyframeBegins(payload []byte) bool {
	switch t := nalType(payload); t {
	case nalIDR, nalSPS:
		return true
	case nalFUA:
		return len(payload) > 1 && payload[1]&0x80 != 0 && payload[1]&0x1f == nalIDR
	case nalSTAPA:
		for b := payload[1:]; len(b) > 2; {
			n := int(binary.BigEndian.Uint16(b))
			if b = b[2:]; n == 0 || n > len(b) {
				return false
			}
			if t := nalType(b); t == nalIDR || t == nalSPS {
				return true
			}
			b = b[n:]
		}
	}
	return false
}
