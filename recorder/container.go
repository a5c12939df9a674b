package recorder

import (
	"context"
	"io"
	"strings"
	"time"

	"lineout/codecs/aac"
	"lineout/codecs/g711"
	"lineout/codecs/h264"
	"lineout/codecs/l16"
	"lineout/codecs/opus"
	"lineout/codecs/vp8"
	"lineout/media"
)

// container is a file format for recordings, with the codecs that are put
// into it.
type container struct {
	// format is its name in record_formats or record_audio_format, ext the extension of its files.
	// Formats with the same extension have the same scan.
	format, ext string
	// audio are the codecs of sound it takes as they come; others are converted
	// to the first that can be had.
	audio []media.Codec
	video media.Codec // "" for sound alone
	// interleaved says that both kinds should be written in order of time.
	interleaved bool
	// untimed says that the file has no times: see filler.
	untimed bool
	// usable says why a file cannot describe a track with these parameters.
	usable func(k media.Kind, p *media.Params) error
	// muxer makes the writer of one growing file.
	muxer func() muxer
	// scan reads a growing or torn file of this format.
	scan func(r io.ReaderAt, size int64) (scanned, error)
}

// mkvSound is what Matroska files keep as it is.
var mkvSound = []media.Codec{opus.Name, g711.PCMA, g711.PCMU, aac.Name}

var (
	mp4Container = &container{format: "h264-mp4", ext: ".mp4", audio: []media.Codec{aac.Name}, video: h264.Name,
		usable: usableMP4, muxer: func() muxer { return &mp4Muxer{} }, scan: scanMP4}
	mp4Opus = &container{format: "h264-mp4", ext: ".mp4", audio: []media.Codec{opus.Name}, video: h264.Name,
		usable: usableMP4, muxer: func() muxer { return &mp4Muxer{} }, scan: scanMP4}
	webmContainer = &container{format: "vp8-webm", ext: ".webm", audio: []media.Codec{opus.Name}, video: vp8.Name, interleaved: true,
		usable: usableVP8, muxer: func() muxer { return &matroskaMuxer{doc: docWebM} }, scan: scanMKV}
	h264MKV = &container{format: "h264-mkv", ext: ".mkv", audio: mkvSound, video: h264.Name, interleaved: true,
		usable: usableAVC, muxer: func() muxer { return &matroskaMuxer{doc: docMatroska} }, scan: scanMKV}
	vp8MKV = &container{format: "vp8-mkv", ext: ".mkv", audio: mkvSound, video: vp8.Name, interleaved: true,
		usable: usableVP8, muxer: func() muxer { return &matroskaMuxer{doc: docMatroska} }, scan: scanMKV}
	oggContainer = &container{format: "ogg", ext: ".ogg", audio: []media.Codec{opus.Name}, untimed: true,
		usable: usableSound, muxer: func() muxer { return &oggMuxer{} }, scan: scanOgg}
	wavContainer = &container{format: "wav", ext: ".wav", audio: []media.Codec{l16.Name, g711.PCMA, g711.PCMU}, untimed: true,
		usable: usableSound, muxer: func() muxer { return &wavMuxer{} }, scan: scanWAV}
	containers = []*container{mp4Container, webmContainer, h264MKV, vp8MKV, oggContainer, wavContainer}
	// mp4Containers are the values of record_mp4_audio. What reads a file looks
	// at what is in it, so only the first is among containers.
	mp4Containers = map[string]*container{"aac": mp4Container, "opus": mp4Opus}
	// soundContainers are the values of record_audio_format.
	soundContainers = map[string]*container{"mp4": mp4Container, "ogg": oggContainer, "wav": wavContainer}
)

func scanMP4(r io.ReaderAt, size int64) (scanned, error) { return scanFile(r, size) }

func scanMKV(r io.ReaderAt, size int64) (scanned, error) { return scanMatroska(r, size) }

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
	// encode makes the open fragment and begins the next. It is a multiple of
	// eight bytes long if hide does anything to it. base is the time that the file calls zero. The bytes
	// are valid until the next call.
	encode(base time.Duration) ([]byte, error)
	// hide changes the first eight bytes of an encoded fragment so that
	// players skip it, whole or cut short.
	hide(fragment []byte)
}

// filler is a muxer of a format without times, in which what is missing has to
// be filled in.
type filler interface {
	// fill adds what is missing before f, at most two seconds of it, and says
	// whether there is more.
	fill(l *liveFile, f *media.Frame) (more bool)
}

// grower is a muxer of a format whose header says how long the file is.
type grower interface {
	// grown is the header for a file of this size.
	grown(size int64) ([]byte, error)
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

// formatOf is the name in record_formats of what a file of ours holds.
func formatOf(name string, e ending) string {
	for _, c := range containers {
		if strings.HasSuffix(name, c.ext) && label(c.video) == e.video {
			return c.format
		}
	}
	return containerOf(name).format
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
