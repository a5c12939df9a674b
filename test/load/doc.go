// Package load measures what calls cost the running server: CPU time and memory
// of its process per call, from /proc. Its benchmark has the build tag e2e; "make
// bench" runs it.
package load
