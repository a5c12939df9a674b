package bridge

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/rtcp"

	"lineout/calls/leg"
	"lineout/codecs"
	conversions "lineout/codecs/convert"
	"lineout/codecs/g711"
	"lineout/codecs/g722"
	"lineout/codecs/l16"
	"lineout/codecs/opus"
	"lineout/media"
)

const tone = 440 // Hz

// coded is a tone in packets of 20 ms of a codec, made by its encoder.
func coded(t testing.TB, c media.Codec, packets int) [][]byte {
	hz := 8000
	if c != g711.PCMA && c != g711.PCMU {
		hz = 16000
	}
	var samples []byte
	for i := range packets * hz / 50 {
		v := int16(12000 * math.Sin(2*math.Pi*tone*float64(i)/float64(hz)))
		samples = append(samples, byte(uint16(v)>>8), byte(v))
	}
	in := &media.Track{Kind: media.Audio, Codec: l16.Name, ClockRate: hz}
	in.SetParams(&media.Params{SampleRate: hz, Channels: 1})
	var out [][]byte
	through(t, in, c, func(write func(*media.Frame)) {
		n := hz / 25
		for i := range packets {
			write(&media.Frame{Track: in, PTS: time.Duration(i) * 20 * ms, Data: [][]byte{samples[i*n : (i+1)*n]}})
		}
	}, func(f *media.Frame) { out = append(out, slices.Clone(f.Data[0])) })
	if len(out) < packets {
		t.Fatalf("%d packets of %s instead of %d", len(out), c, packets)
	}
	return out[:packets]
}

// through runs a conversion.
func through(t testing.TB, in *media.Track, to media.Codec, feed func(func(*media.Frame)), emit func(*media.Frame)) {
	for _, conv := range conversions.All() {
		if conv.From != in.Codec || conv.To != to {
			continue
		}
		c, err := conv.New(in, codecs.Options{})
		if err != nil {
			t.Fatal(err)
		}
		feed(func(f *media.Frame) {
			if err := c.Convert(f, emit); err != nil {
				t.Fatal(err)
			}
		})
		if f, ok := c.(codecs.Flusher); ok {
			if err := f.Flush(emit); err != nil {
				t.Fatal(err)
			}
		}
		_ = c.Close()
		return
	}
	t.Fatalf("no conversion from %s to %s", in.Codec, to)
}

// snr is how far a tone of known frequency is above everything else in what was
// sent, in dB.
func snr(t testing.TB, c media.Codec, got []sent) float64 {
	in := &media.Track{Kind: media.Audio, Codec: c, ClockRate: 8000, Channels: 1}
	var pcm []float64
	through(t, in, l16.Name, func(write func(*media.Frame)) {
		for i, s := range got {
			write(&media.Frame{Track: in, PTS: time.Duration(i) * 20 * ms, Data: [][]byte{s.p.Payload}})
		}
	}, func(f *media.Frame) {
		for i := 0; i+1 < len(f.Data[0]); i += 2 {
			pcm = append(pcm, float64(int16(uint16(f.Data[0][i])<<8|uint16(f.Data[0][i+1]))))
		}
	})
	hz := len(pcm) * 50 / len(got)
	hz = (hz + 4000) / 8000 * 8000 // 8, 16 or 48 kHz
	pcm = pcm[len(pcm)/4 : len(pcm)*3/4]
	var re, im, power float64
	for i, v := range pcm {
		a := 2 * math.Pi * tone * float64(i) / float64(hz)
		re, im, power = re+v*math.Cos(a), im+v*math.Sin(a), power+v*v
	}
	n := float64(len(pcm))
	signal := 2 * (re*re + im*im) / n
	return 10 * math.Log10(signal/max(power-signal, 1e-9))
}

func TestSoundIsConverted(t *testing.T) {
	for _, c := range []struct {
		from, to leg.Format
		least    float64 // dB
	}{
		{pcma, op, 18}, {op, pcma, 20}, {wide, pcmu, 25}, {pcmu, wide, 25}, {wide, op, 20}, {op, wide, 20}, {pcma, pcmu, 25},
	} {
		t.Run(string(c.from.Codec)+" to "+string(c.to.Codec), func(t *testing.T) {
			packets := coded(t, c.from.Codec, 100)
			synctest.Test(t, func(t *testing.T) {
				b, _, y := join([]leg.TrackInfo{audio(c.from)}, []leg.TrackInfo{audio(c.to)})
				running(t, b)
				step := uint32(c.from.ClockRate / 50)
				for i, p := range packets {
					b.FromA(media1(media.Audio, c.from.PayloadType, 7, uint16(65500+i), uint32(i)*step-5*step, p...))
					time.Sleep(20 * ms)
				}
				got := y.got()
				if len(got) != len(packets) { // none waits for the next
					t.Errorf("%d packets became %d", len(packets), len(got))
				}
				for i, s := range got[1:] {
					if s.p.SequenceNumber != got[0].p.SequenceNumber+uint16(i+1) || s.p.Timestamp != got[0].p.Timestamp+uint32((i+1)*c.to.ClockRate/50) || s.p.Marker || s.pt != c.to.PayloadType {
						t.Fatalf("packet %d: %+v after %+v", i+1, s.p.Header, got[0].p.Header)
					}
					if at := s.now.Sub(got[0].now); at != time.Duration(i+1)*20*ms {
						t.Fatalf("packet %d was sent %v after the first", i+1, at)
					}
				}
				if db := snr(t, c.to.Codec, got); db < c.least {
					t.Errorf("the tone is only %.1f dB above the rest", db)
				} else {
					t.Logf("%.1f dB", db)
				}
				if f := b.Stats().AToB[0]; f.Converted != 100 || f.Lost != 0 || f.Passed != 0 {
					t.Errorf("%+v", f)
				}
			})
		})
	}
}

// Packets that come in another order are put in order and lose nothing; the
// wait for them is bounded.
func TestReorderedAndLost(t *testing.T) {
	packets := coded(t, g711.PCMA, 200)
	synctest.Test(t, func(t *testing.T) {
		b, _, y := join([]leg.TrackInfo{audio(pcma)}, []leg.TrackInfo{audio(pcmu)})
		running(t, b)
		var sentAt []time.Time
		for i := 0; i < len(packets); i++ {
			at := i
			switch {
			case i%20 == 10: // this one and the next change places
				at = i + 1
			case i%20 == 11:
				at = i - 1
			case i == 95: // lost
				sentAt = append(sentAt, time.Now())
				time.Sleep(20 * ms)
				continue
			}
			sentAt = append(sentAt, time.Now())
			b.FromA(media1(media.Audio, 8, 7, uint16(at), uint32(at)*160, packets[at]...))
			time.Sleep(20 * ms)
		}
		time.Sleep(time.Second)
		got := y.got()
		if len(got) != len(packets) {
			t.Errorf("%d packets became %d", len(packets), len(got))
		}
		for i, s := range got {
			if s.p.Timestamp-got[0].p.Timestamp != uint32(i)*160 || s.p.SequenceNumber-got[0].p.SequenceNumber != uint16(i) {
				t.Fatalf("packet %d: %+v", i, s.p.Header)
			}
			if late := s.now.Sub(sentAt[i]); late > waitMost+20*ms {
				t.Errorf("packet %d came %v late", i, late)
			}
		}
		if f := b.Stats().AToB[0]; f.Lost != 1 || f.Dropped != 0 {
			t.Errorf("%+v", f)
		}
		if db := snr(t, g711.PCMU, got); db < 15 { // one packet of 200 is invented
			t.Errorf("%.1f dB", db)
		}
	})
}

// A pause of the sender stays one: it is not filled when it is over, and the
// timestamps tell of it.
func TestPausesStay(t *testing.T) {
	packets := coded(t, g711.PCMA, 20)
	synctest.Test(t, func(t *testing.T) {
		b, _, y := join([]leg.TrackInfo{with(audio(pcma), []uint8{13}, ev8)}, []leg.TrackInfo{with(audio(op), nil, ev48)})
		running(t, b)
		seq := uint16(0)
		send := func(ssrc uint32, pt uint8, ts uint32, payload []byte) {
			b.FromA(media1(media.Audio, pt, ssrc, seq, ts, payload...))
			seq++
			time.Sleep(20 * ms)
		}
		for i := range 5 {
			send(1, 8, uint32(i)*160, packets[i])
		}
		send(1, 13, 5*160, []byte{60}) // silent from here on; nobody takes that
		time.Sleep(4 * time.Second)
		for i := range 5 {
			send(1, 8, uint32(i+205)*160, packets[i])
		}
		send(1, 101, 210*160, []byte{5, 0x8a, 0x03, 0x20}) // a digit of 100 ms
		time.Sleep(time.Second)
		for i := range 5 { // another source, with numbers of its own
			send(2, 8, uint32(i)*160+77777, packets[i])
		}
		send(2, 8, 1<<31, packets[5]) // timestamps that leap without reason
		got := y.got()
		if len(got) != 17 {
			t.Fatalf("%d packets", len(got))
		}
		at := func(i int) float64 { return float64(got[i].p.Timestamp-got[0].p.Timestamp) / 48 }
		for i, want := range map[int]float64{4: 80, 5: 4100, 9: 4180, 10: 4206.5, 11: 5220, 15: 5300} {
			if math.Abs(at(i)-want) > 1 {
				t.Errorf("packet %d stands for %.2f ms, want %.0f", i, at(i), want)
			}
		}
		if leap := at(16) - at(15); leap < 20 || leap > 600 {
			t.Errorf("the leap became one of %.0f ms", leap)
		}
		if d := got[10]; d.pt != 110 || !slices.Equal(d.p.Payload, []byte{5, 0x8a, 0x12, 0xc0}) {
			t.Errorf("digit: %+v", d)
		}
		for i := range got {
			if got[i].p.SequenceNumber != got[0].p.SequenceNumber+uint16(i) {
				t.Errorf("packet %d: number %d", i, got[i].p.SequenceNumber)
			}
			if marker := i == 0 || i == 5 || i == 11 || i == 16; got[i].p.Marker != marker {
				t.Errorf("packet %d: marker %v", i, got[i].p.Marker)
			}
		}
	})
}

// A report on the source's timestamps becomes one on those that are made.
func TestReportsOfConvertedSound(t *testing.T) {
	packets := coded(t, g711.PCMA, 10)
	synctest.Test(t, func(t *testing.T) {
		b, _, y := join([]leg.TrackInfo{audio(pcma)}, []leg.TrackInfo{audio(op)})
		running(t, b)
		for i, p := range packets {
			b.FromA(media1(media.Audio, 8, 7, uint16(i), uint32(i)*160, p...))
			time.Sleep(20 * ms)
		}
		b.FromA(control(media.Audio, &rtcp.SenderReport{SSRC: 7, NTPTime: 9 << 32, RTPTime: 9 * 160}))
		synctest.Wait()
		last := y.got()[9].p
		if len(y.reports) != 1 {
			t.Fatalf("%+v", y.reports)
		}
		// The packet begins earlier than its source by what the encoder looks ahead.
		r := y.reports[0]
		if ahead := int32(r.ts - last.Timestamp); r.ssrc != last.SSRC || r.ntp != 9<<32 || ahead < 0 || ahead > 480 {
			t.Errorf("%+v, the packet %+v, %d ahead", r, last.Header, ahead)
		}
	})
}

// What another agreement says of the other leg's packet length is kept.
func TestPacketTime(t *testing.T) {
	packets := coded(t, g722.Name, 30)
	synctest.Test(t, func(t *testing.T) {
		to := audio(pcmu)
		to.PacketTime = 30 * ms
		b, _, y := join([]leg.TrackInfo{audio(wide)}, []leg.TrackInfo{to})
		running(t, b)
		for i, p := range packets {
			b.FromA(media1(media.Audio, 9, 7, uint16(i), uint32(i)*160, p...))
			time.Sleep(20 * ms)
		}
		got := y.got()
		if len(got) != 20 || len(got[0].p.Payload) != 240 || got[1].p.Timestamp-got[0].p.Timestamp != 240 {
			t.Errorf("%d packets of %d", len(got), len(got[0].p.Payload))
		}
		y.set(audio(op)) // the other leg changes its codec: sound goes on
		b.MediaChanged()
		for i, p := range packets {
			b.FromA(media1(media.Audio, 9, 7, uint16(i+30), uint32(i+30)*160, p...))
			time.Sleep(20 * ms)
		}
		if got = y.got()[20:]; len(got) < 29 || got[0].pt != 111 {
			t.Errorf("%d packets after the change", len(got))
		}
	})
}

// What the other leg knows goes past the worker as soon as that is idle, and
// never before what is still with it.
func TestConvertedAndPassed(t *testing.T) {
	g := coded(t, g722.Name, 10)
	synctest.Test(t, func(t *testing.T) {
		b, _, y := join([]leg.TrackInfo{audio(wide, pcma)}, []leg.TrackInfo{audio(pcma)})
		running(t, b)
		for i := range 10 {
			b.FromA(media1(media.Audio, 9, 7, uint16(i), uint32(i)*160, g[i]...))
		}
		b.FromA(media1(media.Audio, 8, 7, 10, 1600, make([]byte, 160)...))
		synctest.Wait()
		b.FromA(media1(media.Audio, 8, 7, 11, 1760, make([]byte, 160)...))
		got := y.got()
		if len(got) != 12 {
			t.Fatalf("%d packets", len(got))
		}
		for i, s := range got {
			if converted := s.p.SSRC != 7; converted != (i < 10) {
				t.Errorf("packet %d: SSRC %d", i, s.p.SSRC)
			}
		}
		if f := b.Stats().AToB[0]; f.Converted != 10 || f.Passed != 2 {
			t.Errorf("%+v", f)
		}
	})
}

// Without Run the queue is bounded and nothing blocks.
func TestNobodyConverts(t *testing.T) {
	b, _, y := join([]leg.TrackInfo{audio(wide)}, []leg.TrackInfo{audio(pcma)})
	for i := range 10 * soundQueue {
		b.FromA(media1(media.Audio, 9, 7, uint16(i), uint32(i)*160, 1))
	}
	if f := b.Stats().AToB[0]; f.Dropped != 9*soundQueue || len(y.got()) != 0 {
		t.Errorf("%+v", f)
	}
}

// Whatever the network does to packets, numbers stay in order and the bridge
// alive.
func TestBadNetworks(t *testing.T) {
	packets := coded(t, opus.Name, 50)
	synctest.Test(t, func(t *testing.T) {
		b, _, y := join([]leg.TrackInfo{with(audio(op), []uint8{13}, ev48)}, []leg.TrackInfo{with(audio(pcma), nil, ev8)})
		running(t, b)
		r := rand.New(rand.NewPCG(1, 2))
		for i := range 2000 {
			if r.IntN(10) == 0 {
				continue
			}
			seq, ssrc, pt := uint16(i+r.IntN(4)), uint32(1+i/400), []uint8{111, 111, 111, 111, 13, 110}[r.IntN(6)]
			if r.IntN(200) == 0 {
				seq = uint16(r.Uint32())
			}
			ts := uint32(i) * 960
			if r.IntN(200) == 0 {
				ts = r.Uint32()
			}
			payload := packets[i%50]
			if r.IntN(50) == 0 {
				payload = payload[:r.IntN(2)]
			}
			b.FromA(media1(media.Audio, pt, ssrc, seq, ts, payload...))
			time.Sleep(time.Duration(r.IntN(40)) * ms)
		}
		got := y.got()
		if len(got) < 1000 || len(got) > 3500 {
			t.Errorf("%d packets", len(got))
		}
		for i := range got[1:] {
			if got[i+1].p.SequenceNumber != got[i].p.SequenceNumber+1 {
				t.Fatalf("packet %d: %d after %d", i+1, got[i+1].p.SequenceNumber, got[i].p.SequenceNumber)
			}
		}
	})
}

func BenchmarkConvert(b *testing.B) {
	for _, c := range []struct{ from, to leg.Format }{{pcma, op}, {op, pcma}, {wide, pcmu}, {pcmu, pcma}} {
		b.Run(string(c.from.Codec)+"-"+string(c.to.Codec), func(b *testing.B) {
			packets := coded(b, c.from.Codec, 50)
			br := New(&party{tracks: []leg.TrackInfo{audio(c.from)}}, &quiet{party{tracks: []leg.TrackInfo{audio(c.to)}}}, table, Options{})
			s, pl := newSound(br.aToB.audio), br.aToB.audio.plan.Load()
			i := 0
			b.ReportAllocs()
			for b.Loop() {
				p := media1(media.Audio, c.from.PayloadType, 7, uint16(i), uint32(i*c.from.ClockRate/50), packets[i%50]...)
				s.packet(item{p: p.RTP, at: p.At, plan: pl}, 0)
				i++
			}
			s.close()
		})
	}
}
