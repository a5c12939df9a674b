// Package rtpin turns the RTP of one call leg into frames on one timeline.
//
// Everything here is passive: no goroutines, no timers, no locks. Time is an
// argument, so all of it is tested with made-up times. One goroutine (the
// call's tap) owns an Input, pushes packets with their arrival time, and calls
// Poll after each push and at the time Poll last asked for.
//
// The way of a packet:
//
//	source        one SSRC at a time, sequence numbers and timestamps unwrapped,
//	              restarts of the sender continued by arrival time
//	jitterBuffer  duplicates out, order restored; only a hole waits
//	trackInput    depacketize, drop what a decoder cannot use, ask for key frames
//	avSync        where on the timeline: audio is master, video is moved to it
//	syncBuffer    holds frames of both kinds until they can go in DTS order
//
// Three clocks meet in avSync. Media time is a track's own RTP time, unwrapped,
// made continuous over restarts, zero at the track's first packet. Local time is
// when packets arrived, since the Input was made. Sender time is the NTP time in
// RTCP sender reports. The timeline of the frames is audio's media time plus a
// constant that is never changed once a frame is out, so it runs at the audio
// sender's rate; video's constant moves (see avSync).
package rtpin
