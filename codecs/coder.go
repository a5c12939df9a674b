package codecs

// Coder is a codec of mono sound whose decoder and encoder come from a library
// that was found at run time.
type Coder struct {
	Codec Codec
	// SampleRate is that of the sound in Hz.
	SampleRate int
	// By names the library with its version: "libspeex 1.2.1".
	By string

	NewDecoder func() (SoundDecoder, error)
	NewEncoder func() (SoundEncoder, error)
}

// SoundDecoder turns packets into 16-bit samples. One goroutine uses it.
type SoundDecoder interface {
	// Samples is how many samples a packet holds, 0 if it is malformed.
	Samples(packet []byte) int
	// Decode appends exactly Samples(packet) samples, or fails and returns dst
	// as it was.
	Decode(dst []int16, packet []byte) ([]int16, error)
	// Conceal appends n samples in place of packets that are missing: an
	// invented continuation after sound, comfort noise after a sender that
	// said it stops.
	Conceal(dst []int16, n int) []int16
	// Close frees the decoder, which is not used after it.
	Close()
}

// SoundEncoder turns frames of 20 ms into packets. One goroutine uses it.
type SoundEncoder interface {
	// Encode appends the packet of 20 ms of samples.
	Encode(dst []byte, pcm []int16) ([]byte, error)
	// Lookahead is by how many samples decoded sound comes later than it went in.
	Lookahead() int
	// Close frees the encoder, which is not used after it.
	Close()
}
