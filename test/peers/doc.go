// Package peers starts the programs lineout works with, for tests: soft phones
// (baresip), a SIP party that answers with any SDP (sipp) and encoders that send RTP
// for it (ffmpeg, GStreamer), a SIP registrar and proxy (kamailio), an RTMP server
// (nginx with its rtmp module), a browser (Chromium), and lineout itself.
//
// Every Start function takes the test, uses free ports of 127.0.0.1 that no other
// test process uses ([Ports]), returns when the program is ready, and stops it
// when the test ends. A program that does not start fails the test with the end of
// its log; the logs of all programs are kept in the artefact folder
// (.cache/artefacts/<test>, see [Artefacts]) and printed in part when a test fails.
//
//	reg := peers.StartRegistrar(t, peers.RegistrarConfig{})
//	phone := peers.StartSoftphone(t, peers.SoftphoneConfig{User: "10005", Audio: peers.PCMA, Video: peers.H264, Registrar: reg})
//	rtmp := peers.StartRTMPServer(t)
//	srv := peers.StartLineout(t, nil)
//	srv.Post(t, "/rest-api/call/startup", map[string]any{...}, nil)
//	phone.WaitEvent(t, "CALL_ESTABLISHED")
//
// The programs are installed by tools/install-test-deps.sh (part of "make test");
// a missing one fails the test and says so. Nothing is skipped.
package peers
