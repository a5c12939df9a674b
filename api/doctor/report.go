package doctor

import (
	"net/netip"
	"slices"
	"strings"

	"lineout/calls"
	"lineout/calls/bridge"
	"lineout/calls/trace"
	"lineout/media"
)

// Report is all about one call. Times beside those in milliseconds since 1970
// are milliseconds since its start.
type Report struct {
	CallID    string       `json:"callId"`
	Status    calls.Status `json:"status"`
	SIPStatus *int         `json:"sipStatus"`
	Caller    string       `json:"caller"`
	Callee    string       `json:"callee"`
	Started   int64        `json:"started"`
	Ended     *int64       `json:"ended"`
	// Cause is the finding in one sentence.
	Cause    string    `json:"cause"`
	Timeline []Note    `json:"timeline"`
	Messages []Message `json:"messages"`
	SDP      []Section `json:"sdp"`
	Media    []Media   `json:"media"`
	Flows    []Flow    `json:"flows"`
	// Joined is what is done with the media between a user of this server and the
	// other side, empty in calls without a user.
	Joined []Joined `json:"joined"`
	// Forgotten messages did not fit; PacketsKept of PacketsSeen are in the trace.
	Forgotten   int `json:"messagesForgotten"`
	PacketsKept int `json:"packetsKept"`
	PacketsSeen int `json:"packetsSeen"`
}

// Note is a change of the call's status.
type Note struct {
	At   float64 `json:"at"`
	Text string  `json:"text"`
}

// Message is one SIP message.
type Message struct {
	At     float64 `json:"at"`
	Sent   bool    `json:"sent"`
	Remote string  `json:"remote"`
	// Line says what it is in short: "INVITE", "180 Ringing (INVITE)".
	Line string `json:"line"`
	SDP  bool   `json:"sdp"`
	Text string `json:"text"`
}

// Section compares both sides' descriptions of one medium.
type Section struct {
	Kind   string `json:"kind"`
	Offer  Side   `json:"offer"`
	Answer Side   `json:"answer"`
	// Codec is the one in use, Why it is.
	Codec string `json:"codec"`
	Why   string `json:"why"`
}

// Side is one side's description of one medium.
type Side struct {
	Address   string   `json:"address"`
	Direction string   `json:"direction"`
	Formats   []string `json:"formats"`
}

// Media is what came and went of one medium.
type Media struct {
	Kind  string `json:"kind"`
	Codec string `json:"codec"`
	// Announced is where the other side said it would send from, Source where
	// its packets came from; Latch says what was made of it.
	Announced string `json:"announced"`
	Source    string `json:"source"`
	Latch     string `json:"latch"`

	SSRCs           []uint32 `json:"ssrcs"`
	PayloadTypes    []int    `json:"payloadTypes"`
	Received        uint64   `json:"packetsReceived"`
	Refused         uint64   `json:"packetsRefused"`
	Sent            uint64   `json:"packetsSent"`
	RTCPReceived    uint64   `json:"rtcpReceived"`
	RTCPSent        uint64   `json:"rtcpSent"`
	LossPercent     float64  `json:"lossPercent"`
	JitterMS        float64  `json:"jitterMs"`
	Frames          uint64   `json:"frames"`
	Keyframes       uint64   `json:"keyFrames"`
	KeyframesAsked  uint64   `json:"keyFrameRequests"`
	OffsetMS        float64  `json:"offsetErrorMs"` // of the picture from its place beside the sound
	FramesPerSecond float64  `json:"framesPerSecond"`
}

// Flow is a pair of addresses and what went between them.
type Flow struct {
	Kind         string   `json:"kind"`
	RTCP         bool     `json:"rtcp"`
	Sent         bool     `json:"sent"`
	LocalPort    int      `json:"localPort"`
	Remote       string   `json:"remote"`
	Packets      uint64   `json:"packets"`
	Bytes        uint64   `json:"bytes"`
	Refused      uint64   `json:"refused"`
	First        float64  `json:"first"`
	Last         float64  `json:"last"`
	SSRCs        []uint32 `json:"ssrcs"`
	PayloadTypes []int    `json:"payloadTypes"`
}

// Joined is one kind of media on its way to the user or to the other side.
type Joined struct {
	To   string `json:"to"` // user, other
	Kind string `json:"kind"`
	// Plan says in words what is done, and why.
	Plan      string  `json:"plan"`
	Passed    uint64  `json:"passed"`
	Converted uint64  `json:"converted"`
	Dropped   uint64  `json:"dropped"`
	P50MS     float64 `json:"delayP50Ms"`
	P99MS     float64 `json:"delayP99Ms"`
	Error     string  `json:"error"`
}

// joined tells of the media of both sides of a user's call.
func (r *Report) joined(j *calls.Joined) {
	if j == nil {
		return
	}
	for i, ways := range [][]bridge.FlowStats{j.ToOther, j.ToUser} {
		for _, f := range ways {
			if f.Passed+f.Converted+f.Dropped > 0 {
				r.Joined = append(r.Joined, Joined{To: []string{"other", "user"}[i], Kind: f.Kind.String(), Plan: f.Reason, Passed: f.Passed, Converted: f.Converted,
					Dropped: f.Dropped, P50MS: round(float64(f.DelayP50.Microseconds()) / 1000), P99MS: round(float64(f.DelayP99.Microseconds()) / 1000), Error: f.Error})
			}
		}
	}
}

// messages fills in the ladder and the timeline.
func (r *Report) messages(s trace.Snapshot) {
	for _, n := range s.Notes {
		r.Timeline = append(r.Timeline, Note{since(s.Started, n.At), n.Text})
	}
	for _, m := range s.Messages {
		head, body, _ := strings.Cut(m.Text, "\r\n\r\n")
		r.Messages = append(r.Messages, Message{At: since(s.Started, m.At), Sent: m.Sent, Remote: m.Remote.String(),
			Line: shortLine(head), SDP: strings.HasPrefix(body, "v=0"), Text: m.Text})
	}
}

// shortLine is a request's method, or a response's status with the method it answers.
func shortLine(head string) string {
	first, rest, _ := strings.Cut(head, "\r\n")
	status, isResponse := strings.CutPrefix(first, "SIP/2.0 ")
	if !isResponse {
		method, _, _ := strings.Cut(first, " ")
		return method
	}
	return status + " (" + cseqMethod(rest) + ")"
}

func cseqMethod(head string) string {
	for line := range strings.SplitSeq(head, "\r\n") {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.EqualFold(strings.TrimSpace(name), "CSeq") {
			if f := strings.Fields(value); len(f) == 2 {
				return f[1]
			}
		}
	}
	return "?"
}

// media brings together what was announced, what came, and what was measured.
func (r *Report) media(s trace.Snapshot, remote *description, st calls.Stats) {
	for _, f := range s.Flows {
		o := Flow{Kind: f.Kind.String(), RTCP: f.RTCP, Sent: f.Sent, LocalPort: int(f.Local.Port()), Remote: f.Remote.String(), Packets: f.Packets,
			Bytes: f.Bytes, Refused: f.Refused, SSRCs: append([]uint32{}, f.SSRCs...), PayloadTypes: []int{}}
		for _, pt := range f.PayloadTypes {
			o.PayloadTypes = append(o.PayloadTypes, int(pt))
		}
		if f.Packets > 0 {
			o.First, o.Last = since(s.Started, f.First), since(s.Started, f.Last)
		}
		r.Flows = append(r.Flows, o)
	}
	for _, k := range []media.Kind{media.Audio, media.Video} {
		m := Media{Kind: k.String(), SSRCs: []uint32{}, PayloadTypes: []int{}}
		if x := remote.section(m.Kind); x != nil {
			m.Announced = x.Address
		}
		measured := false
		for _, t := range st.Tracks {
			if t.Kind != k {
				continue
			}
			measured = true
			m.Codec = string(t.Codec)
			m.Received, m.Refused, m.Sent = t.Transport.PacketsReceived, t.Transport.PacketsRejected, t.Transport.PacketsSent
			m.LossPercent, m.JitterMS = round(100*t.Loss), round(float64(t.Input.Jitter.Microseconds())/1000)
			m.Frames, m.Keyframes, m.KeyframesAsked, m.FramesPerSecond = t.Frames, t.Keyframes, t.Transport.KeyframeRequests, round(t.FPS)
			if k == media.Video {
				m.OffsetMS = round(float64(st.Sync.Error.Microseconds()) / 1000)
			}
		}
		if !measured && m.Announced == "" {
			continue
		}
		m.flows(s.Flows, k)
		r.Media = append(r.Media, m)
	}
}

// flows adds what the sockets saw of one medium.
func (m *Media) flows(flows []trace.Flow, k media.Kind) {
	strangers := map[netip.AddrPort]bool{}
	var most uint64
	for _, f := range flows {
		switch {
		case f.Kind != k:
		case f.RTCP && f.Sent:
			m.RTCPSent += f.Packets
		case f.RTCP:
			m.RTCPReceived += f.Packets
		case f.Sent:
		default:
			if f.Packets > most {
				most, m.Source = f.Packets, f.Remote.String()
			}
			if f.Packets == 0 && f.Refused > 0 {
				strangers[f.Remote] = true
			}
			for _, v := range f.SSRCs {
				if !slices.Contains(m.SSRCs, v) {
					m.SSRCs = append(m.SSRCs, v)
				}
			}
			for _, v := range f.PayloadTypes {
				if !slices.Contains(m.PayloadTypes, int(v)) {
					m.PayloadTypes = append(m.PayloadTypes, int(v))
				}
			}
		}
	}
	m.Latch = latch(m.Announced, m.Source, strangers)
}

// latch says whose packets were taken.
func latch(announced, source string, strangers map[netip.AddrPort]bool) string {
	switch {
	case source == "" && len(strangers) > 0:
		return "packets came from " + addresses(strangers) + " only, not from " + announced + ", and were refused"
	case source == "":
		return "no packet came"
	case source == announced:
		return "packets come from the announced address"
	case announced == "":
		return "packets come from " + source
	}
	return "packets come from " + source + " instead of " + announced + " (NAT); they are taken, and ours are sent there"
}

func addresses(set map[netip.AddrPort]bool) string {
	var l []string
	for a := range set {
		l = append(l, a.String())
	}
	slices.Sort(l)
	return strings.Join(l, ", ")
}
