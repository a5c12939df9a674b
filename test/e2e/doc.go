// Package e2e tests the built server (make build) against programs nobody here
// wrote: soft phones, a SIP registrar, an RTMP server, Chromium with the
// unmodified WebSDK and hls.js, ffmpeg. Its tests have the build tag e2e; "make
// e2e" runs them, "make test" too. Screenshots, recordings and logs stay in
// .cache/artefacts.
//
// The machine may be busy: then phones leave pictures out, encoders are late and
// the server drops, and says so. What comes out is judged by what was really
// sent and by what the server counts, never by what a quiet machine would send.
package e2e
