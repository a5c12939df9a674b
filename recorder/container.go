package recorder

import (
	"context"
	"io"
	"strings"
	"time"

	"lineout/codecs/aac"
	"lineout/codecs/h264"
	"lineout/codecs/opus"
	"lineout/codecs/vp8"
	"lineout/media"
)

// container is a file format for recordings, with the one codec of each kind
// that is put into it.
type container struct {
	// format is its name in record_formats, ext the extension of its files.
	format, ext  string
	audio, video media.Codec
	// usable says why a file cannot describe a track with these parameters.
	usable func(k media.Kind, p *media.Params) error
	// fits says whether a track may go on with other parameters in the same file.
	fits func(old, next *media.Params) bool
	// muxer makes the writer of one growing file.
	muxer func() muxer
	// scan reads a growing or torn file of this format.
	scan func(r io.ReaderAt, size int64) (scanned, error)
}

var (
	mp4Container = &container{format: "h264-mp4", ext: ".mp4", audio: aac.Name, video: h264.Name,
		usable: usableMP4, fits: fitsMP4, muxer: func() muxer { return &mp4Muxer{} },
		scan: func(r io.ReaderAt, size int64) (scanned, error) { return scanFile(r, size) }}
	webmContainer = &container{format: "vp8-webm", ext: ".webm", audio: opus.Name, video: vp8.Name,
		usable: usableWebM, fits: func(_, _ *media.Params) bool { return true }, muxer: func() muxer { return &webmMuxer{} },
		scan: func(r io.ReaderAt, size int64) (scanned, error) { return scanWebM(r, size) }}
	containers = []*container{mp4Container, webmContainer}
)

// muxer turns frames into the bytes of a growing file: a header of exactly
// headerSize bytes, then fragments. One goroutine uses it.
type muxer interface {
	// header describes h. Called again when a track joins.
	header(h header) ([]byte, error)
	// collect adds a frame to the open fragment and tells l of each sample.
	collect(l *liveFile, f *media.Frame)
	// cutBefore says that a fragment should begin with this frame.
	cutBefore(f *media.Frame) bool
	// held is the number of payload bytes in the open fragment.
	held() int
	// encode makes the open fragment, a multiple of eight bytes long, and
	// begins the next. base is the time that the file calls zero. The bytes
	// are valid until the next call.
	encode(base time.Duration) ([]byte, error)
	// hide changes the first eight bytes of an encoded fragment so that
	// players skip it, whole or cut short.
	hide(fragment []byte)
}

// scanned is what was found in a growing or torn file.
type scanned interface {
	facts() fileMeta
	// empty says that there is no media.
	empty() bool
	ending() ending
	// contents describes the tracks that hold media.
	contents() []SidecarTrack
	// wholeSize is the file position after the last whole fragment.
	wholeSize() int64
	// rewrite writes the finished form. ctx is looked at between fragments.
	rewrite(ctx context.Context, r io.ReaderAt, w io.Writer) error
}

// live and temp are the suffixes of a file that is still written and of one
// that is being finalised. Both are playable and keep the extension.
func (c *container) live() string { return liveMark + c.ext }
func (c *container) temp() string { return tempMark + c.ext }

// containerOf finds the format of a finished, growing or working file by its
// name, nil if it is none of ours.
func containerOf(name string) *container {
	for _, c := range containers {
		if strings.HasSuffix(name, c.ext) {
			return c
		}
	}
	return nil
}

// isLive and isTemp tell our unfinished files by their names.
func isLive(name string) bool {
	c := containerOf(name)
	return c != nil && strings.HasSuffix(name, c.live())
}

func isTemp(name string) bool {
	c := containerOf(name)
	return c != nil && strings.HasSuffix(name, c.temp())
}

// tempFor is the working file that belongs to a growing file, liveFor the
// other way round.
func tempFor(live string) string {
	c := containerOf(live)
	return strings.TrimSuffix(live, c.live()) + c.temp()
}

func liveFor(temp string) string {
	c := containerOf(temp)
	return strings.TrimSuffix(temp, c.temp()) + c.live()
}
