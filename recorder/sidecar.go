package recorder

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// sidecarExt is added to a recording's name to name its sidecar.
const sidecarExt = ".json"

// sidecarSchema is the version of Sidecar. Fields may be added under the same
// number; another number means that a field changed its meaning.
const sidecarSchema = 1

// Sidecar says what a finished file holds, where it came from, and its digest,
// so that the file can be proved to be what was recorded.
type Sidecar struct {
	Schema int         `json:"schema"`
	Writer SidecarApp  `json:"writer"`
	File   SidecarFile `json:"file"`
	Stream struct {
		Name           string `json:"name"`
		MediaSessionID string `json:"mediaSessionId"`
	} `json:"stream"`
	Call callFacts `json:"call"`
	// Legs are the parties whose media is in the file.
	Legs []SidecarLeg `json:"legs"`
	// Part counts the files of one recording from 1; Last is true for the one
	// with which the recording was ended.
	Part int  `json:"part"`
	Last bool `json:"last"`
	// Recovered is true for a file that was finished by a later process than
	// the one that wrote it: Gaps, AVOffset and Quality are not known then.
	Recovered bool `json:"recovered"`
	// Start is the time of the first frame, End the time Duration later.
	Start SidecarClocks `json:"start"`
	End   SidecarClocks `json:"end"`
	// DurationMS is from the first frame's begin to the last one's end.
	DurationMS int64          `json:"durationMs"`
	Tracks     []SidecarTrack `json:"tracks"`
	// Gaps are where a track holds no media, or other media than what was
	// sent; null when not known. GapsOmitted counts those beyond the first
	// maxGaps.
	Gaps        []Gap `json:"gaps"`
	GapsOmitted int   `json:"gapsOmitted"`
	// Digits are the keys the other party pressed while the file was written;
	// null when not known. DigitsOmitted counts those that are not listed.
	Digits        []SidecarDigit `json:"digits"`
	DigitsOmitted int            `json:"digitsOmitted"`
	// AVOffset is null when the sender's clock did not say it.
	AVOffset *AVOffset       `json:"avOffset"`
	Quality  *SidecarQuality `json:"quality"`
	// Seal is the SHA-256 of this text with the seal's own digits as zeros. It
	// shows damage, not forgery.
	Seal string `json:"seal"`
}

// SidecarApp names the program that finished the file.
type SidecarApp struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

// SidecarFile is the file itself.
type SidecarFile struct {
	Name   string `json:"name"`
	Format string `json:"format"` // as in record_formats
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
	// Fragmented is true for a file that could not be rewritten for fast start.
	Fragmented bool `json:"fragmented"`
}

// callFacts are the facts about a call, empty for a stream of another source.
type callFacts struct {
	CallID    string `json:"callId"`
	Caller    string `json:"caller"`
	Callee    string `json:"callee"`
	Login     string `json:"login"`
	AppKey    string `json:"appKey"`
	SessionID string `json:"sessionId"`
	Provider  string `json:"mediaProvider"`
}

// SidecarLeg is one party and what the file holds of it.
type SidecarLeg struct {
	Party  string   `json:"party"`
	Tracks []string `json:"tracks"`
}

// SidecarClocks are one moment on two clocks, RFC 3339 with milliseconds in UTC.
type SidecarClocks struct {
	// Sender is the other party's clock, null if it did not say.
	Sender *string `json:"sender"`
	Server string  `json:"server"`
}

// SidecarTrack is one track as the file holds it.
type SidecarTrack struct {
	Kind  string `json:"kind"`
	Codec string `json:"codec"`
	// Parameters is RFC 6381's codecs parameter, like avc1.42C01F.
	Parameters string `json:"parameters"`
	Width      int    `json:"width,omitempty"`
	Height     int    `json:"height,omitempty"`
	SampleRate int    `json:"sampleRate,omitempty"`
	Channels   int    `json:"channels,omitempty"`
	Frames     int64  `json:"frames"`
	Keyframes  int64  `json:"keyframes"`
	Bytes      int64  `json:"bytes"`
	// StartMS and EndMS count from the file's begin.
	StartMS int64 `json:"startMs"`
	EndMS   int64 `json:"endMs"`
}

// SidecarQuality is the source's measurement; counters are those of this part.
type SidecarQuality struct {
	Sync        string  `json:"sync"`
	SyncErrorMS float64 `json:"syncErrorMs"`
	// Offsets are the sizes of SyncErrorMS over all pictures since the call's begin.
	OffsetP50MS float64           `json:"offsetP50Ms"`
	OffsetP99MS float64           `json:"offsetP99Ms"`
	OffsetMaxMS float64           `json:"offsetMaxMs"`
	DriftPPM    float64           `json:"driftPpm"`
	Jumps       uint64            `json:"jumps"`
	Audio       *SidecarReception `json:"audio,omitempty"`
	Video       *SidecarReception `json:"video,omitempty"`
}

// SidecarReception is one track's part of a SidecarQuality.
type SidecarReception struct {
	Packets          uint64  `json:"packets"`
	Lost             uint64  `json:"lost"`
	Late             uint64  `json:"late"`
	Damaged          uint64  `json:"damaged"`
	Dropped          uint64  `json:"dropped"`
	KeyframeRequests uint64  `json:"keyframeRequests"`
	JitterMS         float64 `json:"jitterMs"`
	ConcealedMS      float64 `json:"concealedMs"`
	FillerMS         float64 `json:"fillerMs"`
	Freezes          uint64  `json:"freezes"`
	FreezeMS         float64 `json:"freezeMs"`
}

// SidecarDigit is a key the other party pressed.
type SidecarDigit struct {
	// AtMS counts from the file's begin, by the server's clock.
	AtMS int64 `json:"atMs"`
	// Digit is null when the settings do not let it be written down (dtmf_log).
	Digit *string `json:"digit"`
	By    string  `json:"by"` // RFC2833, INFO or INFO_RELAY
}

// clockText is t as sidecars write times.
func clockText(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// sealMark is what stands before the seal's digits, which end the file.
const sealMark = "\"seal\": \""

const sealTail = "\"\n}\n"

// encode is the sidecar as a file, sealed.
func (s *Sidecar) encode() ([]byte, error) {
	s.Seal = string(bytes.Repeat([]byte{'0'}, 2*sha256.Size))
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return nil, err
	}
	b = append(b, '\n')
	sum := sha256.Sum256(b)
	s.Seal = hex.EncodeToString(sum[:])
	copy(b[len(b)-len(sealTail)-2*sha256.Size:], s.Seal)
	return b, nil
}

// errSeal says that a sidecar is not as it was written.
var errSeal = errors.New("its seal does not fit its text: it was damaged or changed")

// decodeSidecar reads a sidecar and proves its seal.
func decodeSidecar(b []byte) (*Sidecar, error) {
	at := len(b) - len(sealTail) - 2*sha256.Size
	if at < len(sealMark) || string(b[at-len(sealMark):at]) != sealMark || string(b[len(b)-len(sealTail):]) != sealTail {
		return nil, errors.New("it does not end with a seal: it was cut short or changed")
	}
	seal := string(b[at : len(b)-len(sealTail)])
	open := bytes.Clone(b)
	copy(open[at:], bytes.Repeat([]byte{'0'}, len(seal)))
	if sum := sha256.Sum256(open); hex.EncodeToString(sum[:]) != seal {
		return nil, errSeal
	}
	var s Sidecar
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, err
	}
	if s.Schema != sidecarSchema {
		return nil, fmt.Errorf("its schema is %d, this program knows %d: use a newer lineout", s.Schema, sidecarSchema)
	}
	return &s, nil
}
