//go:build linux && (amd64 || arm64) && !static

package clib

import "github.com/ebitengine/purego"

func open(file string) (uintptr, error) {
	return purego.Dlopen(file, purego.RTLD_NOW|purego.RTLD_LOCAL)
}

func symbol(handle uintptr, name string) (uintptr, error) { return purego.Dlsym(handle, name) }

// Call calls f and returns its result, of which only as many bits as f returns
// mean something. Memory whose address is an argument, written as
// uintptr(unsafe.Pointer(&x)) in the call itself, stays where it is until Call
// returns; f must not keep the address.
//
//go:uintptrescapes
func (f Func) Call(args ...uintptr) uintptr {
	r, _, _ := purego.SyscallN(uintptr(f), args...)
	return r
}

// Call3 calls f as Func.Call does, without an allocation.
//
//go:uintptrescapes
func (c *Caller) Call3(f Func, a1, a2, a3 uintptr) uintptr {
	c.args[0], c.args[1], c.args[2] = a1, a2, a3
	r, _, _ := purego.SyscallN(uintptr(f), c.args[:3]...)
	return r
}

// Call7 calls f as Func.Call does, without an allocation.
//
//go:uintptrescapes
func (c *Caller) Call7(f Func, a1, a2, a3, a4, a5, a6, a7 uintptr) uintptr {
	c.args = [...]uintptr{a1, a2, a3, a4, a5, a6, a7}
	r, _, _ := purego.SyscallN(uintptr(f), c.args[:]...)
	return r
}
