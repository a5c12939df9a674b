package peers

import (
	"bytes"
	"encoding/base64"
	"os"
	"path/filepath"
	"testing"

	"lineout/test/media"
)

// Further codecs of an [Encoder], besides those of a [Softphone]. Payload types are those of lineout's offers.
const (
	OpusStereo = "opus/stereo"
	Speex8     = "SPEEX/8000"
	Speex16    = "SPEEX/16000"
	G729       = "G729"      // no encoder sends it by itself: a [Tap] codes PCMA anew with libbcg729
	H264Copy   = "H264/copy" // the clip's own H.264 as it is; its parameter sets stand in the SDP only
	VP8Copy    = "VP8/copy"
	H264Single = "H264/mode0" // packetization mode 0: slices that fit into packets, neither cut nor gathered
	H264Gather = "H264/stap"  // all that fits into a packet is gathered (STAP-A), the rest cut (FU-A)
	H264Main   = "H264/main"
	H264High   = "H264/high"
	VP8Layers  = "VP8/layers" // three temporal layers
)

type program struct{ name, codec string }

var (
	h264Mode1 = EncoderTrack{PayloadType: 112, Rtpmap: "H264/90000", Fmtp: "packetization-mode=1; profile-level-id=42e01f"}
	h264Mode0 = EncoderTrack{PayloadType: 113, Rtpmap: "H264/90000", Fmtp: "packetization-mode=0; profile-level-id=42e01f"}
	h264Main  = EncoderTrack{PayloadType: 112, Rtpmap: "H264/90000", Fmtp: "packetization-mode=1; profile-level-id=4d001f"}
	h264High  = EncoderTrack{PayloadType: 112, Rtpmap: "H264/90000", Fmtp: "packetization-mode=1; profile-level-id=64001f"}
	vp8Track  = EncoderTrack{PayloadType: 114, Rtpmap: "VP8/90000"}
	pcma      = EncoderTrack{PayloadType: 8, Rtpmap: "PCMA/8000"}
	pcmu      = EncoderTrack{PayloadType: 0, Rtpmap: "PCMU/8000"}
	g729Track = EncoderTrack{PayloadType: 18, Rtpmap: "G729/8000"}
	g722      = EncoderTrack{PayloadType: 9, Rtpmap: "G722/8000"}
	speex8    = EncoderTrack{PayloadType: 97, Rtpmap: "SPEEX/8000"}
	speex16   = EncoderTrack{PayloadType: 98, Rtpmap: "SPEEX/16000"}
	opus      = EncoderTrack{PayloadType: 111, Rtpmap: "opus/48000/2", Fmtp: "useinbandfec=1"}
	opus2     = EncoderTrack{PayloadType: 111, Rtpmap: "opus/48000/2", Fmtp: "useinbandfec=1; stereo=1; sprop-stereo=1"}
)

// x264 is GStreamer's H.264 encoder with a key frame each second; no B frames.
const x264 = "h264parse ! avdec_h264 max-threads=1 ! videoconvert ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=25 bitrate=400 threads=1"

// encodings is how each program encodes each codec: packets of 20 ms, pictures with a key frame each second.
var encodings = map[program]struct {
	track  EncoderTrack
	encode string
}{
	{FFmpeg, PCMA}:       {pcma, "-c:a pcm_alaw -ar 8000 -ac 1 -af aresample=8000,asetnsamples=n=160:p=0"},
	{FFmpeg, PCMU}:       {pcmu, "-c:a pcm_mulaw -ar 8000 -ac 1 -af aresample=8000,asetnsamples=n=160:p=0"},
	{FFmpeg, G729}:       {g729Track, "-c:a pcm_alaw -ar 8000 -ac 1 -af aresample=8000,asetnsamples=n=160:p=0"},
	{FFmpeg, G722}:       {g722, "-c:a g722 -ar 16000 -ac 1 -frame_size 320"},
	{FFmpeg, Speex8}:     {speex8, "-c:a libspeex -ar 8000 -ac 1 -frames_per_packet 1"},
	{FFmpeg, Speex16}:    {speex16, "-c:a libspeex -ar 16000 -ac 1 -frames_per_packet 1"},
	{FFmpeg, Opus}:       {opus, "-c:a libopus -ar 48000 -ac 1 -b:a 32k -application voip -fec:a 1 -packet_loss 10 -frame_duration 20"},
	{FFmpeg, OpusStereo}: {opus2, "-c:a libopus -ar 48000 -ac 2 -b:a 64k -frame_duration 20"},

	{GStreamer, PCMA}:       {pcma, "audioconvert ! audioresample ! audio/x-raw,rate=8000,channels=1 ! alawenc ! rtppcmapay min-ptime=20000000 max-ptime=20000000"},
	{GStreamer, PCMU}:       {pcmu, "audioconvert ! audioresample ! audio/x-raw,rate=8000,channels=1 ! mulawenc ! rtppcmupay min-ptime=20000000 max-ptime=20000000"},
	{GStreamer, G722}:       {g722, "audioconvert ! audioresample ! audio/x-raw,rate=16000,channels=1 ! avenc_g722 ! rtpg722pay min-ptime=20000000 max-ptime=20000000"},
	{GStreamer, Opus}:       {opus, "audioconvert ! audioresample ! audio/x-raw,rate=48000,channels=1 ! opusenc bitrate=32000 inband-fec=true packet-loss-percentage=10 ! rtpopuspay"},
	{GStreamer, Speex8}:     {speex8, "audioconvert ! audioresample ! audio/x-raw,rate=8000,channels=1 ! speexenc ! rtpspeexpay"},
	{GStreamer, Speex16}:    {speex16, "audioconvert ! audioresample ! audio/x-raw,rate=16000,channels=1 ! speexenc vad=true dtx=true ! rtpspeexpay"},
	{GStreamer, OpusStereo}: {opus2, "audioconvert ! audioresample ! audio/x-raw,rate=48000,channels=2 ! opusenc bitrate=64000 ! rtpopuspay"},

	{FFmpeg, H264}:     {h264Mode1, "-c:v libx264 -profile:v baseline -level 3.1 -pix_fmt yuv420p -preset ultrafast -tune zerolatency -g 25 -b:v 400k -threads 1"},
	{FFmpeg, H264Copy}: {h264Mode1, "-c:v copy"},
	{FFmpeg, VP8}:      {vp8Track, "-c:v libvpx -b:v 400k -g 25 -deadline realtime -cpu-used 8 -lag-in-frames 0 -auto-alt-ref 0 -threads 1"},
	{FFmpeg, VP8Copy}:  {vp8Track, "-c:v copy"},

	{GStreamer, H264}: {h264Mode1, x264 + " ! video/x-h264,profile=constrained-baseline" +
		" ! rtph264pay mtu=1200 config-interval=-1 aggregate-mode=zero-latency"},
	{GStreamer, H264Single}: {h264Mode0, x264 + " option-string=slice-max-size=1100 ! video/x-h264,profile=constrained-baseline ! rtph264pay mtu=1200 config-interval=-1 aggregate-mode=none"},
	{GStreamer, H264Gather}: {h264Mode1, x264 + " ! video/x-h264,profile=constrained-baseline ! rtph264pay mtu=1200 config-interval=-1 aggregate-mode=max-stap"},
	{FFmpeg, H264Main}:      {h264Main, "-c:v libx264 -profile:v main -pix_fmt yuv420p -preset veryfast -tune zerolatency -g 25 -b:v 400k -threads 1"},
	{FFmpeg, H264High}:      {h264High, "-c:v libx264 -profile:v high -pix_fmt yuv420p -preset veryfast -tune zerolatency -g 25 -b:v 400k -threads 1"},
	{FFmpeg, VP8Layers}: {vp8Track, "-c:v libvpx -b:v 400k -g 25 -deadline realtime -cpu-used 8 -lag-in-frames 0 -auto-alt-ref 0 -error-resilient 1 -threads 1" +
		" -ts-parameters ts_number_layers=3:ts_target_bitrate=200,300,400:ts_rate_decimator=4,2,1:ts_periodicity=4:ts_layer_id=0,2,1,2:ts_layering_mode=3"},

	{GStreamer, VP8}: {vp8Track, "h264parse ! avdec_h264 max-threads=1 ! videoconvert ! vp8enc deadline=1 cpu-used=8 target-bitrate=400000 keyframe-max-dist=25 error-resilient=1 threads=1 ! rtpvp8pay mtu=1200"},
}

// Encode is a track of an [EncoderConfig] with one of the usual encodings, nil for [None].
func Encode(t testing.TB, name, codec string) *EncoderTrack {
	t.Helper()
	if codec == None {
		return nil
	}
	e, ok := encodings[program{name, codec}]
	if !ok {
		t.Fatalf("encoder: %s has no encoding for %s", name, codec)
	}
	e.track.Encode = e.encode
	switch codec {
	case G729:
		e.track.recode = toG729
	case H264Copy:
		e.track.clip = media.WideH264
		e.track.Fmtp += "; sprop-parameter-sets=" + ParameterSets(t)
	case VP8Copy:
		e.track.clip = media.WideVP8
	}
	return &e.track
}

// ParameterSets are those of the clips that are sent as [H264Copy], as RFC 6184 section 8.1 writes them.
func ParameterSets(t testing.TB) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(Clips(t), media.H264))
	if err != nil {
		t.Fatal(err)
	}
	var sets []byte
	for _, nal := range bytes.SplitN(b, []byte{0, 0, 1}, 6)[1:5] {
		nal = bytes.TrimRight(nal, "\x00")
		if kind := nal[0] & 0x1f; kind == 7 || kind == 8 {
			if sets != nil {
				sets = append(sets, ',')
			}
			sets = base64.StdEncoding.AppendEncode(sets, nal)
		}
	}
	return string(sets)
}
