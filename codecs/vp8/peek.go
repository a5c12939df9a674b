package vp8

// KeyframeBegins implements codecs.Peeker: the payload is the first one of a
// frame whose tag says that it is a key frame (RFC 7741 section 4.3).
func (codec) KeyframeBegins(payload []byte) bool {
	d, ok := parseDescriptor(payload)
	return ok && d.start && d.partition == 0 && payload[d.length]&1 == 0
}
