//go:build !race

package convert

import (
	"testing"
	"time"

	"lineout/codecs"
	"lineout/codecs/opus"
	"lineout/media"
)

// The race detector allocates where the program does not, so these tests run
// without it: make race runs them after the others.

// Once warm, a packet costs no allocation in any decoder or encoder, and none in
// any concealment but that of Opus (gopus v0.1.2 allocates for lost packets).
func TestNothingIsAllocated(t *testing.T) {
	for _, c := range contests {
		m, enc := c.material(t), c.encoder(t)
		check := func(what string, step func(i int)) {
			t.Helper()
			for i := range m.floats {
				step(i)
			}
			if n := testing.AllocsPerRun(1, func() {
				for i := range m.floats {
					step(i)
				}
			}); n != 0 {
				t.Errorf("%s: %s allocates %v times in %d packets", c.name, what, n, len(m.floats))
			}
		}
		check("encoding", func(i int) {
			if _, err := enc.encode(m.floats[i]); err != nil {
				t.Fatal(err)
			}
		})
		if c.only {
			continue
		}
		d, planes := c.decoder(t), [][]float32{make([]float32, 0, count(blockMax, c.rate))}
		check("decoding", func(i int) {
			planes[0] = planes[0][:0]
			if err := d.decode(planes, m.packets[i]); err != nil {
				t.Fatal(err)
			}
		})
		if c.codec == opus.Name {
			continue
		}
		check("concealing", func(i int) {
			planes[0] = planes[0][:0]
			if i%4 == 0 {
				_ = d.decode(planes, m.packets[i])
			}
			d.conceal(planes, c.frame, m.packets[i], i%2 == 0)
		})
	}
}

// A conversion gives its frames away, and so has to allocate; it does so for
// many packets at once.
func TestConversionsAllocateInBulk(t *testing.T) {
	for _, c := range every(t) {
		frames := coded(t, c.From, voice(rates[c.From], 4*time.Second), 0)
		conv := newTest(t, c.From, c.To, codecs.Options{})
		i, emit := 0, func(*media.Frame) {}
		step := func() {
			for range 90 {
				if i%10 == 0 && c.From != opus.Name { // a loss; those of Opus allocate
					frames[i].Gap = true
					frames[i].PTS += 10 * ms
				}
				if err := conv.Convert(frames[i], emit); err != nil {
					t.Fatal(err)
				}
				i++
			}
		}
		if n := testing.AllocsPerRun(1, step); n > 90/4 {
			t.Errorf("%s to %s: %v allocations in 90 packets", c.From, c.To, n)
		}
		if err := conv.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
