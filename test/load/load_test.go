//go:build e2e

package load

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"lineout/codecs/aac"
	"lineout/test/media"
	"lineout/test/peers"
)

const (
	calls = 50
	span  = 20 * time.Second
)

// BenchmarkCalls is the cost of calls of H.264 and PCMA at 320 kbit/s: captured
// only, and recorded to MP4, which has the sound encoded as AAC. The last figure
// of the second, ms/call-s without AAC, has the encoder's share taken off as
// BenchmarkAAC measures it.
func BenchmarkCalls(b *testing.B) {
	for _, c := range []struct {
		name   string
		record bool
	}{{"captured", false}, {"recorded", true}} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				run(b, c.record)
			}
		})
	}
}

func run(b *testing.B, record bool) {
	clips := peers.Clips(b)
	callee, err := newCallee(clips)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- callee.run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
	}()
	srv := peers.StartLineout(b, map[string]string{"sip_record_stream": fmt.Sprint(record), "stream_record_policy_template": "{streamName}"})
	idle := memory(b, srv.PID())
	for i := range calls {
		srv.Must(b, "/rest-api/call/startup", map[string]any{
			"callId": fmt.Sprintf("load-%d", i), "callee": "load", "toStream": fmt.Sprintf("load_%d", i), "hasAudio": false, "hasVideo": false,
			"sipLogin": "10009", "sipPassword": "1234", "sipDomain": "127.0.0.1", "sipOutboundProxy": "127.0.0.1", "sipPort": callee.port(), "sipRegisterRequired": false,
		}, nil)
	}
	for i := range calls {
		srv.WaitCall(b, fmt.Sprintf("load-%d", i), "ESTABLISHED")
	}
	<-time.After(3 * time.Second) // buffers fill, start-up work ends
	cpu, begin := cpuTime(b, srv.PID()), time.Now()
	<-time.After(span)
	used, seconds := cpuTime(b, srv.PID())-cpu, time.Since(begin).Seconds()
	rss := memory(b, srv.PID())
	for i := range calls {
		srv.Must(b, "/rest-api/call/terminate", map[string]string{"callId": fmt.Sprintf("load-%d", i)}, nil)
	}
	srv.WaitGone(b, fmt.Sprintf("load-%d", calls-1))
	perCall := used.Seconds() * 1000 / seconds / calls
	b.ReportMetric(perCall, "ms/call-s")
	b.ReportMetric(float64(rss-idle)/calls/(1<<20), "MiB/call")
	b.ReportMetric(0, "ns/op")
	if record {
		b.ReportMetric(perCall-encodeCost(b), "ms/call-s-without-AAC")
		srv.Stop()
		files := srv.Recordings(b, "load_*.mp4")
		if len(files) != calls {
			b.Fatalf("%d files recorded of %d calls", len(files), calls)
		}
		r, err := media.Measure(b.Context(), files[0], media.Options{})
		if err != nil {
			b.Fatal(err)
		}
		if r.Video == nil || r.Audio == nil || r.Video.Lost > 0 || r.Audio.Jumps > 1 {
			b.Errorf("a recording under load: %v", r)
		}
	}
}

// cpuTime is what a process has used so far (proc(5), stat: utime and stime).
func cpuTime(b *testing.B, pid int) time.Duration {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), ") ")
	f := strings.Fields(after)
	user, _ := strconv.Atoi(f[11])
	system, _ := strconv.Atoi(f[12])
	return time.Duration(user+system) * 10 * time.Millisecond // USER_HZ is 100 on every Linux there is
}

// memory is the resident set of a process in bytes (proc(5), status: VmRSS).
func memory(b *testing.B, pid int) int {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), "VmRSS:")
	kb, err := strconv.Atoi(strings.Fields(after)[0])
	if err != nil {
		b.Fatal(err)
	}
	return kb << 10
}

// encodeCost is the milliseconds of CPU time one second of sound takes to be encoded as AAC.
func encodeCost(b *testing.B) float64 {
	b.Helper()
	e, frames := encoder(b)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	begin := threadTime(b)
	var buf []byte
	for _, f := range frames {
		var err error
		if buf, err = e.Encode(buf[:0], f); err != nil {
			b.Fatal(err)
		}
	}
	return (threadTime(b) - begin).Seconds() * 1000 / (float64(len(frames)) * aac.FrameSize / 48000)
}

// threadTime is the CPU time the calling thread has used (getrusage(2), RUSAGE_THREAD), which other load does not change.
func threadTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(1, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkAAC is the CPU time of encoding a second of the clip's sound, mono at 48 kHz and 64 kbit/s.
func BenchmarkAAC(b *testing.B) {
	for b.Loop() {
		b.ReportMetric(encodeCost(b), "ms/s")
	}
}

func encoder(b *testing.B) (aac.Encoder, [][][]float32) {
	b.Helper()
	e, err := aac.NewEncoder(aac.EncoderConfig{SampleRate: 48000, Channels: 1, Bitrate: 64000})
	if err != nil {
		b.Fatal(err)
	}
	wav, err := os.ReadFile(peers.Clips(b) + "/" + media.WAV48k)
	if err != nil {
		b.Fatal(err)
	}
	wav = wav[44:]
	var frames [][][]float32
	for len(wav) >= aac.FrameSize*2 {
		f := make([]float32, aac.FrameSize)
		for i := range f {
			f[i] = float32(int16(uint16(wav[2*i])|uint16(wav[2*i+1])<<8)) / 32768
		}
		frames, wav = append(frames, [][]float32{f}), wav[aac.FrameSize*2:]
	}
	return e, frames
}
