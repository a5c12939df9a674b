//go:build linux && (amd64 || arm64) && !static

package clib

import (
	"errors"
	"strings"
	"testing"
	"unsafe"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// What is missing is an error that says what to install.
func TestMissing(t *testing.T) {
	_, err := Open(Spec{Files: []string{"libnothing.so.7", "libnothing.so.6"}, Package: "libnothing7"})
	var m *MissingError
	if !errors.As(err, &m) || !strings.Contains(err.Error(), "libnothing7") || !strings.Contains(err.Error(), "libnothing.so.6") {
		t.Errorf("%v", err)
	}
	c := libc(t)
	var f Func
	if err := c.Find([]*Func{&f}, "strlen", "abs"); err == nil {
		t.Error("two names found in one place")
	}
	if err := c.Find([]*Func{&f}, "no_such_function"); err == nil || !strings.Contains(err.Error(), "no_such_function") {
		t.Errorf("%v", err)
	}
}

func libc(t testing.TB) *Library {
	t.Helper()
	c, err := Open(Spec{Files: []string{"libnothing.so.1", "libc.so.6"}, Package: "libc6"})
	if err != nil {
		t.Fatal(err)
	}
	if c.Name() != "libc.so.6" {
		t.Errorf("found %s", c.Name())
	}
	return c
}

// Seven arguments, of which the last go over the stack, arrive; calls allocate nothing.
func TestCall(t *testing.T) {
	c := libc(t)
	var strlen, snprintf Func
	if err := c.Find([]*Func{&strlen, &snprintf}, "strlen", "snprintf"); err != nil {
		t.Fatal(err)
	}
	format, out := []byte("%d %d %d %d\x00"), make([]byte, 64)
	n := snprintf.Call(uintptr(unsafe.Pointer(&out[0])), uintptr(len(out)), uintptr(unsafe.Pointer(&format[0])), 1, 22, 333, 4444)
	if got := String(&out[0]); got != "1 22 333 4444" || n != 13 {
		t.Errorf("%q, %d", got, n)
	}
	if String(nil) != "" {
		t.Error("no string has a length")
	}
	var k Caller
	for i := range out {
		out[i] = 0
	}
	k.Call7(snprintf, uintptr(unsafe.Pointer(&out[0])), uintptr(len(out)), uintptr(unsafe.Pointer(&format[0])), 1, 22, 333, 4444)
	if got := String(&out[0]); got != "1 22 333 4444" {
		t.Errorf("%q", got)
	}
	a := testing.AllocsPerRun(100, func() {
		if k.Call3(strlen, uintptr(unsafe.Pointer(&out[0])), 0, 0) != 13 {
			t.Error("strlen is wrong")
		}
		k.Call7(strlen, uintptr(unsafe.Pointer(&out[0])), 0, 0, 0, 0, 0, 0)
	})
	if a != 0 {
		t.Errorf("%v allocations in two calls", a)
	}
}

func BenchmarkCall(b *testing.B) {
	c, err := Open(Spec{Files: []string{"libc.so.6"}, Package: "libc6"})
	if err != nil {
		b.Fatal(err)
	}
	var abs Func
	var k Caller
	if err := c.Find([]*Func{&abs}, "abs"); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		k.Call3(abs, 7, 0, 0)
	}
}
