package doctor

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"lineout/calls"
	"lineout/calls/leg"
	"lineout/calls/trace"
	"lineout/media"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// registry is a call registry with one answer.
type registry struct {
	infos []calls.Info
	stats calls.Stats
}

func (r *registry) Find(calls.Filter) []calls.Info    { return r.infos }
func (r *registry) Stats(string) (calls.Stats, error) { return r.stats, nil }

var (
	here  = netip.MustParseAddrPort("10.0.0.1:30000")
	phone = netip.MustParseAddrPort("192.0.2.9:5060")
)

const (
	offer = "v=0\r\no=x 1 1 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\nm=audio 31002 RTP/AVP 8 0 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\n" +
		"m=video 31004 RTP/AVP 112\r\na=rtpmap:112 H264/90000\r\na=fmtp:112 packetization-mode=1\r\na=recvonly\r\n"
	answerPCMU = "v=0\r\no=x 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\nm=video 0 RTP/AVP 112\r\n"
	answerG729 = "v=0\r\no=x 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\nm=audio 4000 RTP/AVP 18\r\nm=video 0 RTP/AVP 112\r\n"
)

// examine is a service that has seen an INVITE of ours with the offer and, if
// given, an answer.
func examine(answer string) (*Service, *trace.Call, *registry) {
	rec := trace.New(trace.Config{Calls: 5, CallBytes: 1 << 14, TotalBytes: 1 << 20})
	reg := &registry{}
	s := New(rec)
	s.Watch(reg)
	c := rec.Open("c1")
	rec.Message(true, here, phone, []byte("INVITE sip:b@h SIP/2.0\r\nCall-ID: c1\r\nCSeq: 1 INVITE\r\nProxy-Authorization: Digest username=\"u\", response=\"5ecret\"\r\n\r\n"+offer))
	if answer != "" {
		rec.Message(false, here, phone, []byte("SIP/2.0 200 OK\r\nCall-ID: c1\r\nCSeq: 1 INVITE\r\n\r\n"+answer))
	}
	return s, c, reg
}

func report(t *testing.T, s *Service) *Report {
	t.Helper()
	r, err := s.Report("c1")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func info(st calls.Status, code int, c leg.Cause) calls.Info {
	return calls.Info{CallID: "c1", Status: st, SIPStatus: code, Caller: "10006", Callee: "10005", Cause: c}
}

func TestReport(t *testing.T) {
	s, c, reg := examine(answerPCMU)
	s.Observe(info(calls.Trying, 100, leg.Cause{}))
	s.Observe(info(calls.Established, 200, leg.Cause{}))
	s.Digit("c1", "5", "RTP")
	s.Digit("c1", "", "INFO") // one not to be shown
	s.Digit("nobody", "5", "RTP")
	for i := range 10 {
		c.Received(media.Audio, false, 31002, netip.MustParseAddrPort("203.0.113.7:6000"), []byte{0x80, 0, 0, byte(i), 0, 0, 0, 0, 0, 0, 0, 9, 1}, time.Now(), false, trace.Plain)
	}
	reg.stats = calls.Stats{Tracks: []calls.TrackStats{{Kind: media.Audio, Codec: "PCMU", Transport: leg.Stats{PacketsReceived: 10}}}}
	s.Observe(info(calls.Finish, 200, leg.Cause{Text: "terminated by REST", Local: true}))
	reg.stats = calls.Stats{} // the registry has forgotten it
	r := report(t, s)
	if r.Cause != "The call went well and ended: terminated by REST." {
		t.Errorf("cause %q", r.Cause)
	}
	if len(r.Messages) != 2 || r.Messages[0].Line != "INVITE" || r.Messages[1].Line != "200 OK (INVITE)" || !r.Messages[1].SDP || strings.Contains(r.Messages[0].Text, "5ecret") {
		t.Errorf("messages %+v", r.Messages)
	}
	if len(r.Timeline) != 5 || r.Timeline[2].Text != "digit received by RTP: 5" || r.Timeline[3].Text != "digit received by INFO" || r.Timeline[4].Text != "FINISH 200" || r.Ended == nil || r.Caller != "10006" {
		t.Errorf("timeline %+v", r.Timeline)
	}
	if len(r.SDP) != 2 || r.SDP[0].Why != "PCMU is the first codec of the other side's list that was offered" || r.SDP[1].Why != "the other side refused this medium (port 0)" {
		t.Errorf("sdp %+v", r.SDP)
	}
	if got := strings.Join(r.SDP[0].Offer.Formats, "|"); got != "8 PCMA/8000|0 PCMU/8000|101 telephone-event/8000" || r.SDP[1].Offer.Direction != "recvonly" {
		t.Errorf("offer %q, %s", got, r.SDP[1].Offer.Direction)
	}
	m := r.Media[0]
	if m.Announced != "192.0.2.9:4000" || m.Latch != "packets come from 203.0.113.7:6000 instead of 192.0.2.9:4000 (NAT); they are taken, and ours are sent there" ||
		len(m.SSRCs) != 1 || m.SSRCs[0] != 9 || m.PayloadTypes[0] != 0 {
		t.Errorf("media %+v", m)
	}
	if l := s.List(); len(l) != 1 || l[0].Cause != r.Cause {
		t.Errorf("list %+v", l)
	}
}

// The finding names the cause, and what to do.
func TestFindings(t *testing.T) {
	audio := func(f func(*calls.TrackStats)) calls.Stats {
		x := calls.TrackStats{Kind: media.Audio, Codec: "PCMU", Transport: leg.Stats{PacketsReceived: 100}}
		f(&x)
		return calls.Stats{Tracks: []calls.TrackStats{x}}
	}
	established := info(calls.Established, 200, leg.Cause{})
	for name, c := range map[string]struct {
		answer string
		infos  []calls.Info
		stats  calls.Stats
		want   string
	}{
		"only G.729": {answerG729, []calls.Info{info(calls.Failed, 488, leg.Cause{Kind: leg.NoCommonCodecs, Text: "no codec"})}, calls.Stats{},
			"The callee answered the audio with G729 only, which this server did not offer: install libbcg729 (Debian package libbcg729-0) and name it in the setting codecs."},
		"busy": {"", []calls.Info{info(calls.Busy, 486, leg.Cause{Kind: leg.Busy, Text: "the callee is busy: 486 Busy Here"})}, calls.Stats{}, "The callee is busy: 486 Busy Here."},
		"no answer yet": {"", []calls.Info{info(calls.Pending, 0, leg.Cause{})}, calls.Stats{},
			"The SIP server has not answered yet: check sipDomain, sipOutboundProxy and sipPort, and that nothing filters UDP."},
		"cancelled": {"", []calls.Info{info(calls.Finish, 487, leg.Cause{Text: "terminated by REST"})}, calls.Stats{}, "The call ended before it was answered: terminated by REST."},
		"no sound": {answerPCMU, []calls.Info{established}, audio(func(x *calls.TrackStats) { x.Transport.PacketsReceived = 0 }),
			"No audio came, although 192.0.2.9:4000 was announced: this server announced its private address 10.0.0.1:31002; set ip to the public one."},
		"loss":   {answerPCMU, []calls.Info{established}, audio(func(x *calls.TrackStats) { x.Loss = 0.081 }), "8.1 % of the audio packets were lost on the way to this server."},
		"jitter": {answerPCMU, []calls.Info{established}, audio(func(x *calls.TrackStats) { x.Input.Jitter = 70 * time.Millisecond }), "The audio packets come unevenly, with 70 ms of jitter: sound and picture wait for late ones or lose them."},
		"well":   {answerPCMU, []calls.Info{established}, audio(func(*calls.TrackStats) {}), "Nothing is wrong: sound and picture come as agreed."},
	} {
		t.Run(name, func(t *testing.T) {
			s, _, reg := examine(c.answer)
			reg.stats, reg.infos = c.stats, c.infos
			for _, i := range c.infos {
				s.Observe(i)
			}
			if got := report(t, s).Cause; got != c.want {
				t.Errorf("finding\n%s, want\n%s", got, c.want)
			}
		})
	}
}

// Whatever the other side writes, the report can be made and encoded.
func FuzzAnswer(f *testing.F) {
	f.Add(answerPCMU)
	f.Add("v=0\r\nm=audio")
	f.Fuzz(func(t *testing.T, sdp string) {
		s, _, _ := examine(sdp)
		if _, err := json.Marshal(report(t, s)); err != nil {
			t.Error(err)
		}
	})
}

func TestHTTP(t *testing.T) {
	s, _, _ := examine(answerPCMU)
	closed := false
	guard := func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if closed {
				w.WriteHeader(http.StatusForbidden)
				return
			}
			h.ServeHTTP(w, r)
		})
	}
	mux := http.NewServeMux()
	page := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("page")) })
	for p, h := range s.Routes(guard, page) {
		mux.Handle(p, h)
	}
	get := func(path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w
	}
	for path, want := range map[string]struct {
		code int
		text string
	}{
		"/rest-api/call/doctor":             {200, `[{"callId":"c1"`},
		"/rest-api/call/doctor?callId=c1":   {200, `{"callId":"c1"`},
		"/rest-api/call/doctor?callId=none": {404, `"exception":"com.flashphoner.rest.server.exception.NotFoundException"`},
		"/rest-api/call/trace?callId=c1":    {200, "\x4d\x3c\xb2\xa1"},
		"/rest-api/call/trace":              {400, "callId is missing"},
		"/doctor":                           {200, "page"},
	} {
		if w := get(path); w.Code != want.code || !strings.Contains(w.Body.String(), want.text) {
			t.Errorf("%s: %d %.200q", path, w.Code, w.Body.String())
		}
	}
	closed = true
	for _, path := range []string{"/rest-api/call/doctor", "/rest-api/call/trace?callId=c1", "/doctor"} {
		if w := get(path); w.Code != http.StatusForbidden {
			t.Errorf("%s is open: %d", path, w.Code)
		}
	}
	off := New(nil)
	off.Watch(&registry{})
	off.Observe(info(calls.Trying, 100, leg.Cause{}))
	if _, err := off.Report("c1"); err == nil || !strings.Contains(err.Error(), "doctor_calls") || len(off.List()) != 0 {
		t.Errorf("switched off: %v", err)
	}
}

// TestRegistersOfACall: what was said to register the call's account is in its
// report, whoever has sent it, without the password; that of others is not.
func TestRegistersOfACall(t *testing.T) {
	s, c, _ := examine("")
	c.Account("10006@pbx")
	say := func(sent bool, id, account, first string) {
		s.rec.Message(sent, here, phone, []byte(first+"\r\nTo: <sip:"+account+">\r\nCall-ID: "+id+"\r\nCSeq: 7 REGISTER\r\nAuthorization: Digest username=\"u\", response=\"5ecret\"\r\n\r\n"))
	}
	say(true, "r1", "10006@pbx", "REGISTER sip:pbx SIP/2.0")
	say(false, "r1", "10006@pbx", "SIP/2.0 403 Forbidden")
	say(true, "r2", "10007@pbx", "REGISTER sip:pbx SIP/2.0")
	say(false, "r3", "10006@pbx", "REGISTER sip:pbx SIP/2.0") // somebody registers here
	var lines []string
	for _, m := range report(t, s).Messages {
		lines = append(lines, m.Line)
		if strings.Contains(m.Text, "5ecret") {
			t.Error("the password is shown")
		}
	}
	if got := strings.Join(lines, ", "); got != "INVITE, REGISTER, 403 Forbidden (REGISTER)" {
		t.Errorf("messages %s", got)
	}
}
