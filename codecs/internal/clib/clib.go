// Package clib calls C libraries that an operator may have installed, without
// cgo: they are looked for at run time, and what is not there is an error, not
// a crash. It knows no library; whoever does says each function's arguments in
// one place.
//
// A binary that can open libraries is linked to the C library of the system.
// Built with the tag static, or for a system other than Linux on amd64 or
// arm64, this package opens nothing and the binary is static.
package clib

import (
	"errors"
	"fmt"
	"unsafe"
)

// Library is an opened library. It stays open as long as the process.
type Library struct {
	name   string
	handle uintptr
}

// Name is the file name it was found by.
func (l *Library) Name() string { return l.name }

// Spec says what to look for.
type Spec struct {
	// Files are the names to try, in order: "libspeex.so.1". The system's
	// loader looks for them (ld.so(8)); a name without a version is none of
	// them, for it may be any version.
	Files []string
	// Package is what an operator installs to have it (Debian's name).
	Package string
}

// MissingError says which library could not be opened.
type MissingError struct {
	Spec Spec
	Err  error
}

func (e *MissingError) Error() string {
	return fmt.Sprintf("cannot open %s (Debian package %s): %v", e.Spec.Files[0], e.Spec.Package, e.Err)
}

func (e *MissingError) Unwrap() error { return e.Err }

// Open opens the first of the files that is there.
func Open(s Spec) (*Library, error) {
	var errs []error
	for _, f := range s.Files {
		h, err := open(f)
		if err == nil {
			return &Library{name: f, handle: h}, nil
		}
		errs = append(errs, err)
	}
	return nil, &MissingError{Spec: s, Err: errors.Join(errs...)}
}

// Func is a C function whose arguments and result are integers or pointers. A
// wrong argument list crashes the process.
type Func uintptr

// Caller holds the argument list of calls that must not allocate one each: its
// Call3 and Call7 are Func.Call for up to three and seven arguments. C takes no
// notice of arguments it has no names for. One goroutine uses a Caller.
type Caller struct{ args [7]uintptr }

// Find looks up functions by name; into[i] gets names[i].
func (l *Library) Find(into []*Func, names ...string) error {
	if len(into) != len(names) {
		return fmt.Errorf("finding functions of %s: %d names for %d places", l.name, len(names), len(into))
	}
	for i, n := range names {
		p, err := symbol(l.handle, n)
		if err != nil {
			return fmt.Errorf("%s has no function %s: %w", l.name, n, err)
		}
		*into[i] = Func(p)
	}
	return nil
}

// String reads a C string of at most 255 bytes, "" for nil.
func String(p *byte) string {
	if p == nil {
		return ""
	}
	var b []byte
	for i := uintptr(0); i < 255; i++ {
		c := *(*byte)(unsafe.Add(unsafe.Pointer(p), i))
		if c == 0 {
			break
		}
		b = append(b, c)
	}
	return string(b)
}
