package slab

import (
	"bytes"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestPiecesNeverOverlap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s Bytes
		var pieces [][]byte
		for i, n := range rapid.SliceOfN(rapid.IntRange(0, bytesSize), 1, 60).Draw(t, "sizes") {
			p := s.Make(n)
			if len(p) != n || cap(p) != n {
				t.Fatalf("asked for %d, got len %d cap %d", n, len(p), cap(p))
			}
			for k := range p {
				p[k] = byte(i)
			}
			pieces = append(pieces, p)
		}
		for i, p := range pieces {
			if bytes.Count(p, []byte{byte(i)}) != len(p) {
				t.Fatalf("piece %d was written through another one", i)
			}
		}
	})
}

func TestOfCopy(t *testing.T) {
	var s Of[int]
	a := s.Copy([]int{1, 2, 3})
	b := s.Copy([]int{4, 5})
	_ = append(a, 9)
	if a[2] != 3 || b[0] != 4 || b[1] != 5 {
		t.Fatalf("copies disturb each other: %v %v", a, b)
	}
	if n := testing.AllocsPerRun(1000, func() { s.Make(1) }); n > 0.1 {
		t.Fatalf("%v allocations for a small piece", n)
	}
}
