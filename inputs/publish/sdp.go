package publish

import (
	"fmt"
	"strings"
)

// limit tells the publisher how much video it may send at most: b= lines in the
// answer's video section (RFC 8866 section 5.8, RFC 3890). They follow its c= line.
func limit(sdp string, kbits int) string {
	if kbits <= 0 {
		return sdp
	}
	var b strings.Builder
	video := false
	for line := range strings.Lines(sdp) {
		b.WriteString(line)
		switch {
		case strings.HasPrefix(line, "m="):
			video = strings.HasPrefix(line, "m=video")
		case video && strings.HasPrefix(line, "c="):
			fmt.Fprintf(&b, "b=AS:%d\r\nb=TIAS:%d\r\n", kbits, kbits*1000)
		}
	}
	return b.String()
}

// ufrag is the first a=ice-ufrag of a description.
func ufrag(sdp string) string {
	for line := range strings.Lines(sdp) {
		if u, ok := strings.CutPrefix(strings.TrimSpace(line), "a=ice-ufrag:"); ok {
			return u
		}
	}
	return ""
}
