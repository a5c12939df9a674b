//go:build !linux || !(amd64 || arm64) || static

package clib

import "errors"

var errNone = errors.New("this build of lineout opens no C libraries")

func open(string) (uintptr, error) { return 0, errNone }

func symbol(uintptr, string) (uintptr, error) { return 0, errNone }

// Call is never called: there are no functions to be found.
//
//go:uintptrescapes
func (f Func) Call(...uintptr) uintptr { panic(errNone) }

// Call3 is never called, see Func.Call.
//
//go:uintptrescapes
func (c *Caller) Call3(_ Func, _, _, _ uintptr) uintptr { panic(errNone) }

// Call7 is never called, see Func.Call.
//
//go:uintptrescapes
func (c *Caller) Call7(_ Func, _, _, _, _, _, _, _ uintptr) uintptr { panic(errNone) }
