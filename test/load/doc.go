// Package load measures what calls cost the running server, CPU time and memory
// of its process per call from /proc, and shows that calls and browsers that come
// and go leave nothing behind. Its benchmarks have the build tag e2e; "make
// bench" runs them.
package load
