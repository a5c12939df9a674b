package doctor

import (
	"fmt"
	"net/netip"
	"strings"

	"lineout/calls"
	"lineout/calls/leg"
)

// Bounds of what is called trouble.
const (
	badLoss    = 2.0 // percent
	badJitter  = 50  // ms
	badOffset  = 80  // ms
	soonMillis = 3000
)

// missing says what to install for codecs that come with a library of the system.
var missing = map[string]string{
	"G729":  "install libbcg729 (Debian package libbcg729-0)",
	"SPEEX": "install libspeex (Debian package libspeex1)",
}

// diagnose is the finding in one sentence. The first rule that applies wins:
// why a call failed comes before what was wrong with its media.
func diagnose(r *Report, i calls.Info, over bool) string {
	if s := codecs(r); s != "" && (!over || i.Cause.Kind == leg.NoCommonCodecs) {
		return s
	}
	if over && i.Status != calls.Finish {
		return sentence(i.Cause.Text)
	}
	established := false
	for _, n := range r.Timeline {
		established = established || strings.HasPrefix(n.Text, string(calls.Established))
	}
	if !established {
		switch {
		case over:
			return sentence("the call ended before it was answered: " + i.Cause.Text)
		case len(r.Messages) == 0:
			return "No SIP message has been sent yet: the address of the SIP server is being looked up, or it is being registered with."
		case !anyReceived(r):
			return "The SIP server has not answered yet: check sipDomain, sipOutboundProxy and sipPort, and that nothing filters UDP."
		}
		return "The call is being set up; the newest word of the other side is " + lastReceived(r) + "."
	}
	for _, m := range r.Media {
		if s := trouble(r, m); s != "" {
			return s
		}
	}
	if over {
		return sentence("the call went well and ended: " + i.Cause.Text)
	}
	return "Nothing is wrong: sound and picture come as agreed."
}

// codecs finds media for which the other side has no codec of ours.
func codecs(r *Report) string {
	for _, s := range r.SDP {
		names := formatNames(s.Answer.Formats)
		if s.Codec != "" || len(names) == 0 || s.Answer.Direction == "refused" || !strings.HasPrefix(s.Why, "none:") {
			continue
		}
		text := fmt.Sprintf("The callee answered the %s with %s only, which this server did not offer", s.Kind, strings.Join(names, ", "))
		for _, n := range names {
			if cure := missing[n]; cure != "" {
				return text + ": " + cure + " and name it in the setting codecs."
			}
		}
		return text + ": allow another codec at the callee, or see the setting codecs."
	}
	return ""
}

// trouble is what is wrong with one medium.
func trouble(r *Report, m Media) string {
	side := sectionOf(r, m.Kind)
	wanted := side == nil || side.Answer.Direction == "sendrecv" || side.Answer.Direction == "sendonly"
	long := r.Ended == nil || *r.Ended-r.Started > soonMillis
	switch {
	case !wanted:
		return ""
	case m.Received == 0 && m.Refused > 0:
		return sentence(fmt.Sprintf("no %s was taken: %s (rtp_latch_window)", m.Kind, m.Latch))
	case m.Received == 0 && long:
		text := fmt.Sprintf("No %s came, although %s was announced: ", m.Kind, m.Announced)
		if side != nil && private(side.Offer.Address) && !private(m.Announced) {
			return text + "this server announced its private address " + side.Offer.Address + "; set ip to the public one."
		}
		return text + "open media_port_from to media_port_to for UDP in firewalls, and see that the callee sends."
	case m.LossPercent >= badLoss:
		return fmt.Sprintf("%.1f %% of the %s packets were lost on the way to this server.", m.LossPercent, m.Kind)
	case m.JitterMS >= badJitter:
		return fmt.Sprintf("The %s packets come unevenly, with %.0f ms of jitter: sound and picture wait for late ones or lose them.", m.Kind, m.JitterMS)
	case m.Kind == "video" && m.Received > 0 && m.Keyframes == 0 && long:
		return fmt.Sprintf("Video comes but no key frame, although it was asked for %d times: nothing can be shown before one.", m.KeyframesAsked)
	case m.OffsetMS >= badOffset || m.OffsetMS <= -badOffset:
		return fmt.Sprintf("The picture is %.0f ms from its place beside the sound and is being moved there.", m.OffsetMS)
	}
	return ""
}

func sectionOf(r *Report, kind string) *Section {
	for i := range r.SDP {
		if r.SDP[i].Kind == kind {
			return &r.SDP[i]
		}
	}
	return nil
}

// formatNames are the codecs of format texts, telephone-event left out.
func formatNames(formats []string) (out []string) {
	for _, f := range formats {
		if x := strings.Fields(f); len(x) > 1 {
			name, _, _ := strings.Cut(x[1], "/")
			if name = strings.ToUpper(name); name != "TELEPHONE-EVENT" {
				out = append(out, name)
			}
		}
	}
	return out
}

func private(address string) bool {
	a, err := netip.ParseAddrPort(address)
	return err == nil && (a.Addr().IsPrivate() || a.Addr().IsLoopback())
}

func anyReceived(r *Report) bool { return lastReceived(r) != "" }

func lastReceived(r *Report) (line string) {
	for _, m := range r.Messages {
		if !m.Sent && m.At >= 0 { // REGISTERs may be older than the call
			line = m.Line
		}
	}
	return line
}

// sentence begins with a capital and ends with a full stop.
func sentence(text string) string {
	if text == "" {
		return ""
	}
	return strings.ToUpper(text[:1]) + strings.TrimRight(text[1:], ".") + "."
}
