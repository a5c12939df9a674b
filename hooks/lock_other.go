//go:build !unix

package hooks

import "os"

// tryLock does nothing where files have no advisory locks: two servers must
// not share a call_app_folder there.
func tryLock(*os.File) error { return nil }
