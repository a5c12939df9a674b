package recorder

import (
	"context"
	"errors"
	"io"
	"strings"
)

// checkOgg is the checker of Opus in Ogg (RFC 3533, RFC 7845), finished or as it
// grew: each page has the right checksum, number and time, the first is marked
// and so is the last of a finished file.
func checkOgg(ctx context.Context, r io.ReaderAt, size int64) (*found, error) {
	s, f := &oggScan{}, &found{}
	w := &window{r: r, size: size}
	ended := false
	for at, seq := int64(0), uint32(0); at < size; seq++ {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		b, err := w.at(at, int(min(size-at, maxOggPage)))
		if err != nil {
			return nil, err
		}
		p, fault := parsePage(b)
		switch {
		case fault != "":
			return nil, damaged(at, "page %d %s", seq, fault)
		case p.seq != seq:
			return nil, damaged(at, "page %d says it is page %d", seq, p.seq)
		case seq > 0 && p.serial != s.serial:
			return nil, damaged(at, "page %d belongs to another stream", seq)
		case ended:
			return nil, damaged(at, "page %d follows the last one", seq)
		case (p.flags&oggBegin != 0) != (seq == 0) || p.flags&^(oggBegin|oggEnd) != 0:
			return nil, damaged(at, "page %d is marked %#x", seq, p.flags)
		}
		ended = p.flags&oggEnd != 0
		switch {
		case seq == 0:
			if !s.readHead(p) {
				return nil, damaged(at, "the first page does not describe Opus of one or two channels")
			}
		case seq == 1:
			if !strings.HasPrefix(string(p.payload), "OpusTags") || p.granule != 0 {
				return nil, damaged(at, "the second page holds no comments")
			}
			facts, _ := firstComment(p.payload)
			f.fragmented = strings.HasPrefix(facts, factsTag)
		case !s.take(p):
			return nil, damaged(at, "page %d ends at sample %d, which is not where its packets end", seq, p.granule)
		}
		at += int64(p.size)
	}
	if s.empty() {
		return nil, errors.New("it holds no media")
	}
	if !ended && !f.fragmented {
		return nil, damaged(size, "the last page is missing")
	}
	f.tracks, f.durationMS = s.contents(), roundMS(s.duration())
	return f, nil
}
