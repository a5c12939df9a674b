package rtmp

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/abema/go-mp4"
	"github.com/bluenviron/gortmplib/pkg/amf0"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/mpeg4audio"
	"pgregory.net/rapid"

	"lineout/media"
)

func object(kv ...string) amf0.Object {
	var o amf0.Object
	for i := 0; i < len(kv); i += 2 {
		o = append(o, amf0.ObjectEntry{Key: kv[i], Value: kv[i+1]})
	}
	return o
}

// The record is understood by a library that reads it for MP4.
func TestAVCRecord(t *testing.T) {
	high := []byte{0x67, 0x64, 0x00, 0x0c, 0xac, 0x3b, 0x50, 0xb0, 0x4b, 0x42, 0x00, 0x00, 0x03, 0x00, 0x02, 0x00, 0x00, 0x03, 0x00, 0x3d, 0x08}
	pps := []byte{0x68, 0xee, 0x3c, 0x80}
	for name, sps := range map[string][]byte{"high": high, "baseline": theClip(t).videoParams.Sets[0]} {
		b, err := avcRecord([][]byte{sps, pps, {0x68, 0x01}})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		box := &mp4.AVCDecoderConfiguration{}
		box.SetType(mp4.BoxTypeAvcC())
		if _, err := mp4.Unmarshal(bytes.NewReader(b), uint64(len(b)), box, mp4.Context{}); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if box.Profile != sps[1] || box.Level != sps[3] || box.LengthSizeMinusOne != 3 || len(box.SequenceParameterSets) != 1 ||
			!bytes.Equal(box.SequenceParameterSets[0].NALUnit, sps) || len(box.PictureParameterSets) != 2 ||
			!bytes.Equal(box.PictureParameterSets[0].NALUnit, pps) {
			t.Errorf("%s: %+v", name, box)
		}
		if name == "high" && (!box.HighProfileFieldsEnabled || box.ChromaFormat != 1) {
			t.Errorf("high: %+v", box)
		}
	}
	for _, bad := range [][][]byte{nil, {high}, {pps}, {{0x67}, pps}, {{}, pps}} {
		if b, err := avcRecord(bad); err == nil {
			t.Errorf("%x gives %x", bad, b)
		}
	}
}

func TestAudioFormats(t *testing.T) {
	var b [videoHeadBytes]byte
	for codec, want := range map[media.Codec][]byte{"AAC": {0xaf, packetMedia}, "PCMA": {0x72}, "PCMU": {0x82}, "SPEEX/16000": {0xb6}} {
		f := formatOf(codec)
		if got := f.head(&b, packetMedia); !bytes.Equal(got, want) {
			t.Errorf("%s: head %x, want %x", codec, got, want)
		}
		if f.id() != int(want[0]>>4) {
			t.Errorf("%s: id %d", codec, f.id())
		}
	}
	if formatOf("opus") != nil {
		t.Error("Opus has a place in FLV")
	}
	s := &sink{}
	if got := s.quiet(formatOf("PCMA"), make([]byte, 240), 1); len(got) != 240 || got[0] != 0xd5 || got[239] != 0xd5 {
		t.Errorf("A-law silence is %x", got)
	}
	quiet := s.quiet(formatOf("SPEEX/16000"), make([]byte, 70), 1)
	if d := formatOf("SPEEX/16000").length(quiet, 16000); d != 20*time.Millisecond {
		t.Errorf("Speex silence %x plays %v", quiet, d)
	}
	for in, want := range map[string]int{"aac": 1, "ulaw, ALAW ": 2, "speex16": 1, "speex": 0, "opus": 0, "": 0, "mp3": 0, "aac,g722": 0} {
		got, err := parseAudioCodecs(strings.FieldsFunc(in, func(r rune) bool { return r == ',' }))
		if len(got) != want || (err == nil) != (want > 0) {
			t.Errorf("%q: %v %v", in, got, err)
		}
	}
}

// The silent access units decode to nothing but zeros.
func TestSilenceIsSilent(t *testing.T) {
	for channels := 1; channels <= 2; channels++ {
		var packets mpeg4audio.ADTSPackets
		for range 5 {
			packets = append(packets, &mpeg4audio.ADTSPacket{Type: mpeg4audio.ObjectTypeAACLC, SampleRate: 48000,
				ChannelCount: channels, ChannelConfig: uint8(channels), AU: silence(channels)})
		}
		adts, err := packets.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("ffmpeg", "-v", "error", "-f", "aac", "-i", "-", "-f", "s16le", "-")
		cmd.Stdin = bytes.NewReader(adts)
		var complaints bytes.Buffer
		cmd.Stderr = &complaints
		pcm, err := cmd.Output()
		if err != nil || complaints.Len() > 0 {
			t.Fatalf("decode %d channels: %v %s", channels, err, &complaints)
		}
		if len(pcm) != 5*1024*2*channels || len(bytes.Trim(pcm, "\x00")) != 0 {
			t.Errorf("%d channels: %d bytes that are not all zero, want %d zeros", channels, len(pcm), 5*1024*2*channels)
		}
	}
	if silence(6) != nil {
		t.Error("six channels have a silence")
	}
}

// Whatever comes in on the stream's timeline, timestamps grow within a track
// and stay within a millisecond unless a track began before the first frame.
func TestClock(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		video, audio := &media.Track{Kind: media.Video}, &media.Track{Kind: media.Audio}
		at := map[*media.Track]time.Duration{}
		start := time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "start"))
		at[video], at[audio] = start, start+time.Duration(rapid.Int64Range(0, int64(time.Second)).Draw(t, "lead"))
		var c clock
		last := map[*media.Track]int64{video: -1, audio: -1}
		var base time.Duration
		for i := range rapid.IntRange(1, 60).Draw(t, "frames") {
			tr := rapid.SampledFrom([]*media.Track{video, audio}).Draw(t, "track")
			at[tr] += time.Duration(rapid.Int64Range(int64(time.Millisecond), int64(100*time.Millisecond)).Draw(t, "step"))
			reorder := time.Duration(rapid.Int64Range(0, int64(200*time.Millisecond)).Draw(t, "cts"))
			if i == 0 {
				base = at[tr]
			}
			dts, cts := c.stamp(&media.Frame{Track: tr, DTS: at[tr], PTS: at[tr] + reorder})
			if dts <= last[tr] {
				t.Fatalf("%d follows %d", dts, last[tr])
			}
			if i == 0 && dts != 0 {
				t.Fatalf("the first timestamp is %d", dts)
			}
			last[tr] = dts
			wantPTS := (at[tr] + reorder - base).Milliseconds()
			if at[tr] >= base && (dts+cts < wantPTS-1 || dts+cts > wantPTS+1) {
				t.Fatalf("PTS %d, want %d", dts+cts, wantPTS)
			}
		}
	})
}

func TestVideoHead(t *testing.T) {
	var b [videoHeadBytes]byte
	for cts, want := range map[int64][]byte{0: {0, 0, 0}, 40: {0, 0, 40}, -1: {0xff, 0xff, 0xff}, 1 << 30: {0x7f, 0xff, 0xff}} {
		if got := videoHead(&b, tagInter, packetMedia, cts); !bytes.Equal(got[2:], want) {
			t.Errorf("composition time %d is %x, want %x", cts, got[2:], want)
		}
	}
}

func TestStrip(t *testing.T) {
	units := [][]byte{{0x09, 0xf0}, {0x67, 1, 2}, {0x68, 1}, {0x06, 5}, {}, {0x0c, 0xff}, {0x65, 1, 2, 3}}
	if n := avccSize(units); n != 4+2+4+4 {
		t.Errorf("SEI and IDR take %d bytes, want 14", n)
	}
}
