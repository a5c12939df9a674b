// Package e2e tests the built server (make build) against programs nobody here
// wrote: soft phones, a SIP registrar, an RTMP server, Chromium with the
// unmodified WebSDK and hls.js, ffmpeg. Its tests have the build tag e2e; "make
// e2e" runs them, "make test" too. Screenshots, recordings and logs stay in
// .cache/artefacts.
package e2e
