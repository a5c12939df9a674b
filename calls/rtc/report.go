package rtc

import (
	"time"

	"github.com/pion/rtcp"

	"lineout/calls/receive"
	"lineout/media"
)

const (
	// Reports go out once a second, which is within RFC 3550 section 6.2 for what
	// a call of two has of bandwidth; a browser relates sound and picture by the
	// second one of each (outputs/webrtc does the same), so that comes early.
	reportEvery = time.Second
	reportSoon  = 200 * time.Millisecond
	// feedbackEvery is the interval of congestion feedback, as browsers use among
	// themselves.
	feedbackEvery = 50 * time.Millisecond
	// sentLately is how long after the last packet sender reports go on.
	sentLately = 10 * time.Second
	idleCheck  = 250 * time.Millisecond
)

// pace sends what is due: digits, reports, feedback, requests. idle is closed
// when no media has come for the limit although it should. It ends with the
// session.
func (m *session) pace(limit time.Duration, idle chan struct{}) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	told := false
	for {
		select {
		case <-timer.C:
		case <-m.kick:
		case <-m.done:
			return
		}
		now := time.Now()
		timer.Reset(max(m.step(now).Sub(now), time.Millisecond))
		if !told && limit > 0 && m.silent(now) > limit {
			told = true
			close(idle)
		}
	}
}

// step does what is due and says when to come again.
func (m *session) step(now time.Time) time.Time {
	next := now.Add(idleCheck)
	sooner := func(t time.Time) {
		if !t.IsZero() && t.Before(next) {
			next = t
		}
	}
	var requests []rtcp.Packet
	for _, s := range m.sections {
		if s == nil {
			continue
		}
		m.digits(s, now)
		ps, due := s.requests(now)
		requests = append(requests, ps...)
		sooner(due)
	}
	if len(requests) > 0 {
		m.sendRTCP(requests, false)
	}
	m.control.Lock()
	var feedback []rtcp.Packet
	if m.feedback != nil {
		if held := m.feedback.PacketsHeld() > 0; held && !now.Before(m.twccAt) {
			feedback = m.feedback.BuildFeedbackPacket()
			m.twccAt = now.Add(feedbackEvery)
		}
		sooner(now.Add(feedbackEvery))
	}
	report := !now.Before(m.reportAt) && m.active()
	if report {
		m.reports++
		m.reportAt = now.Add(reportEvery)
		if m.reports <= 2 {
			m.reportAt = now.Add(reportSoon)
		}
	}
	sooner(m.reportAt)
	m.control.Unlock()
	if len(feedback) > 0 {
		m.sendRTCP(feedback, false)
	}
	if report {
		m.sendRTCP(m.compound(now), true)
	}
	return next
}

// active says whether anything has been sent or received.
func (m *session) active() bool {
	for _, s := range m.sections {
		if s == nil {
			continue
		}
		s.mu.Lock()
		on := s.rx.Started || s.tx.Packets > 0
		s.mu.Unlock()
		if on {
			return true
		}
	}
	return false
}

// digits sends the packets of telephone-events that are due.
func (m *session) digits(s *section, now time.Time) {
	var event [4]byte
	for {
		s.mu.Lock()
		var out []byte
		var buf *outBuffer
		h, body, ok := s.tx.Next(now, event[:])
		if ok {
			buf = m.buffer()
			out, _ = s.pack(buf, &h, body)
		}
		s.mu.Unlock()
		if !ok {
			return
		}
		_ = m.write(out, nil)
		m.buffers.Put(buf)
	}
}

// requests are those for lost packets and for a key frame, and when to look
// again, zero for not.
func (s *section) requests(now time.Time) (ps []rtcp.Packet, due time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rx.Started {
		if pairs := s.lost.ask(now); pairs != nil {
			ps = append(ps, &rtcp.TransportLayerNack{SenderSSRC: s.id.ssrc, MediaSSRC: s.rx.SSRC, Nacks: pairs})
		}
		if s.wantKey {
			s.wantKey = false
			ps = append(ps, s.keyRequest())
		}
	}
	due = s.tx.Due()
	if at := s.lost.due(); !at.IsZero() && (due.IsZero() || at.Before(due)) {
		due = at
	}
	return ps, due
}

func (s *section) keyRequest() rtcp.Packet {
	if s.agreed.kind == media.Video && !s.agreed.has("nack pli") && s.agreed.has("ccm fir") {
		s.fir++
		return &rtcp.FullIntraRequest{SenderSSRC: s.id.ssrc, FIR: []rtcp.FIREntry{{SSRC: s.rx.SSRC, SequenceNumber: s.fir}}}
	}
	return &rtcp.PictureLossIndication{SenderSSRC: s.id.ssrc, MediaSSRC: s.rx.SSRC}
}

// compound is a report of each section and the canonical name, which is one for
// both so that the browser plays them in step (RFC 3550 section 6.1, RFC 7022).
func (m *session) compound(now time.Time) []rtcp.Packet {
	var ps []rtcp.Packet
	sdes := &rtcp.SourceDescription{}
	for _, k := range kinds {
		s := m.sections[k]
		if s == nil {
			continue
		}
		ps = append(ps, s.report(now))
		sdes.Chunks = append(sdes.Chunks, rtcp.SourceDescriptionChunk{Source: s.id.ssrc,
			Items: []rtcp.SourceDescriptionItem{{Type: rtcp.SDESCNAME, Text: m.peer.cname}}})
	}
	return append(ps, sdes)
}

func (s *section) report(now time.Time) rtcp.Packet {
	s.mu.Lock()
	defer s.mu.Unlock()
	var blocks []rtcp.ReceptionReport
	if b, ok := s.rx.Report(now); ok {
		blocks = append(blocks, b)
	}
	if s.tx.LastSent.IsZero() || now.Sub(s.tx.LastSent) > sentLately {
		return &rtcp.ReceiverReport{SSRC: s.id.ssrc, Reports: blocks}
	}
	ts, at := s.tx.Relation(now)
	return &rtcp.SenderReport{SSRC: s.id.ssrc, NTPTime: receive.NTP(at), RTPTime: ts,
		PacketCount: uint32(s.tx.Packets), OctetCount: uint32(s.tx.Octets), Reports: blocks}
}

// farewell tells the browser that our streams end (RFC 3550 section 6.6).
func (m *session) farewell() {
	bye := &rtcp.Goodbye{}
	for _, s := range m.sections {
		if s != nil {
			bye.Sources = append(bye.Sources, s.id.ssrc)
		}
	}
	m.sendRTCP(append(m.compound(time.Now()), bye), true)
}

// sendRTCP sends control packets. What is no compound gets a report in front
// for a browser that has not agreed to do without (RFC 5506).
func (m *session) sendRTCP(ps []rtcp.Packet, compound bool) {
	c := m.secured.Load()
	if c == nil {
		return
	}
	if !compound {
		for _, s := range m.sections {
			if s != nil && !s.agreed.rsize {
				ps = append([]rtcp.Packet{&rtcp.ReceiverReport{SSRC: s.id.ssrc}}, ps...)
				break
			}
		}
	}
	b, err := rtcp.Marshal(ps)
	if err != nil {
		return // nothing we make is that large
	}
	m.control.Lock()
	out, err := m.seal.EncryptRTCP(nil, b, nil)
	m.control.Unlock()
	if err == nil {
		_, _ = c.conn.Write(out)
	}
}

// silent is how long no media has come although it should; 0 when none should.
func (m *session) silent(now time.Time) time.Duration {
	c := m.secured.Load()
	last, should := c.since, false
	for _, s := range m.sections {
		if s == nil || !s.agreed.receive {
			continue
		}
		should = true
		s.mu.Lock()
		if s.last.After(last) {
			last = s.last
		}
		s.mu.Unlock()
	}
	if !should {
		return 0
	}
	return now.Sub(last)
}
