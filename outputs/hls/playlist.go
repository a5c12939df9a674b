package hls

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// list is a media playlist as far as joining several of them needs it.
type list struct {
	version  int
	target   int
	sequence int
	init     string // URI of EXT-X-MAP
	segments []segment
}

// segment is one entry: its own tags and its URI.
type segment struct {
	tags     []string
	uri      string
	duration float64
}

// parseList reads a media playlist made by the muxer. Tags of low latency are
// left out: after a discontinuity a playlist goes on without them.
func parseList(text string) list {
	l := list{version: 3}
	var s segment
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		tag, value, _ := strings.Cut(line, ":")
		switch tag {
		case "":
		case "#EXT-X-VERSION":
			l.version, _ = strconv.Atoi(value)
		case "#EXT-X-TARGETDURATION":
			l.target, _ = strconv.Atoi(value)
		case "#EXT-X-MEDIA-SEQUENCE":
			l.sequence, _ = strconv.Atoi(value)
		case "#EXT-X-MAP":
			_, rest, _ := strings.Cut(value, `URI="`)
			l.init, _, _ = strings.Cut(rest, `"`)
		case "#EXTINF":
			n, _, _ := strings.Cut(value, ",")
			s.duration, _ = strconv.ParseFloat(n, 64)
			s.tags = append(s.tags, line)
		case "#EXT-X-PROGRAM-DATE-TIME", "#EXT-X-GAP":
			s.tags = append(s.tags, line)
		default:
			if !strings.HasPrefix(line, "#") {
				s.uri = line
				l.segments = append(l.segments, s)
				s = segment{}
			}
		}
	}
	return l
}

// entry is a segment with where it comes from.
type entry struct {
	segment
	gen *generation
	l   *list
	seq int
}

// compose joins the playlists of several generations into one whose sequence
// numbers go on (RFC 8216 section 6.2.2): at most as many segments as the
// setting says, a discontinuity where a generation begins, and an end if the
// stream has ended. It returns the generation of the first segment too, and ""
// if none of them has this playlist.
func (p *packager) compose(gens []*generation, file, query string, ended bool) (string, *generation) {
	var all []entry
	version, target := 3, 1
	for _, g := range gens {
		text := g.text(file)
		if text == "" {
			continue
		}
		l := parseList(text)
		version = max(version, l.version)
		for i, s := range l.segments {
			all = append(all, entry{s, g, &l, g.base + l.sequence + i})
			target = max(target, int(math.Round(s.duration)))
		}
	}
	if len(all) == 0 {
		return "", nil
	}
	if n := len(all) - p.o.cfg.ListSize; n > 0 {
		all = all[n:]
	}
	if query != "" {
		query = "?" + query
	}
	var b strings.Builder
	fmt.Fprintf(&b, "#EXTM3U\n#EXT-X-VERSION:%d\n#EXT-X-INDEPENDENT-SEGMENTS\n#EXT-X-TARGETDURATION:%d\n#EXT-X-MEDIA-SEQUENCE:%d\n#EXT-X-DISCONTINUITY-SEQUENCE:%d\n",
		version, target, all[0].seq, all[0].gen.index)
	for i, e := range all {
		if i == 0 || e.gen != all[i-1].gen {
			if i > 0 {
				b.WriteString("#EXT-X-DISCONTINUITY\n")
			}
			if e.l.init != "" {
				fmt.Fprintf(&b, "#EXT-X-MAP:URI=\"%s%s\"\n", e.l.init, query)
			}
		}
		for _, t := range e.tags {
			b.WriteString(t)
			b.WriteByte('\n')
		}
		b.WriteString(e.uri + query + "\n")
	}
	if ended {
		b.WriteString("#EXT-X-ENDLIST\n")
	}
	return b.String(), all[0].gen
}
