package rtc

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pion/sdp/v3"
	"pgregory.net/rapid"

	"lineout/calls/leg"
	"lineout/media"
)

func offerOf(t testing.TB, browser string) string {
	t.Helper()
	b, err := os.ReadFile("testdata/" + browser + ".sdp")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// bare is a service for negotiation without sockets.
func bare() *Service { return &Service{table: table()} }

// names lists what was agreed on, for comparison.
func names(a *agreement) string {
	if a == nil {
		return "-"
	}
	var out []string
	for _, f := range a.formats {
		n := string(f.codec)
		if f.kind == media.Video && f.codec == "H264" {
			p := readH264(f.ours)
			n += "/" + p.mode + "/" + p.profile
		}
		out = append(out, n)
	}
	return strings.Join(out, " ")
}

func format(c media.Codec, clock int, fmtp string) leg.Format {
	return leg.Format{Codec: c, ClockRate: clock, Fmtp: fmtp}
}

// What is agreed on with each browser, by what the other leg has. Of sound, what
// both have goes first; of pictures, nothing else is agreed on; H.264 is that of
// the other leg's packetization mode and level (RFC 6184 section 8.2.2).
func TestAgree(t *testing.T) {
	pcma := &leg.TrackInfo{Kind: media.Audio, Formats: []leg.Format{format("PCMA", 8000, ""), format("PCMU", 8000, "")}}
	speex := &leg.TrackInfo{Kind: media.Audio, Formats: []leg.Format{format("SPEEX/8000", 8000, "")}}
	mode1 := &leg.TrackInfo{Kind: media.Video, Formats: []leg.Format{format("H264", 90000, "packetization-mode=1; profile-level-id=42e029")}}
	mode0 := &leg.TrackInfo{Kind: media.Video, Formats: []leg.Format{format("H264", 90000, "profile-level-id=42E00D")}}
	main := &leg.TrackInfo{Kind: media.Video, Formats: []leg.Format{format("H264", 90000, "profile-level-id=4d0028;packetization-mode=1")}}
	vp8 := &leg.TrackInfo{Kind: media.Video, Formats: []leg.Format{format("VP8", 90000, "")}}
	for _, c := range []struct {
		browser string
		joined  bool
		like    *leg.TrackInfo
		want    string
	}{
		{"chrome", false, nil, "opus G722 PCMU PCMA | H264/1/42e01f VP8"},
		{"firefox", false, nil, "opus G722 PCMU PCMA | H264/1/42e01f VP8"},
		{"safari", false, nil, "opus G722 PCMU PCMA | H264/1/42e01f VP8"},
		{"chrome", true, pcma, "PCMA PCMU opus G722 | -"},
		{"safari", true, speex, "opus G722 PCMU PCMA | -"},
		{"chrome", true, mode1, "- | H264/1/42e029"},
		{"firefox", true, mode1, "- | H264/1/42e029"},
		{"chrome", true, mode0, "- | H264/0/42e00d"},
		{"firefox", true, mode0, "- | H264/0/42e00d"},
		{"safari", true, mode0, "- | -"}, // it has no mode 0: the pictures would have to be cut anew
		{"chrome", true, main, "- | H264/1/4d0028"},
		{"safari", true, main, "- | H264/1/42e01f"}, // browsers decode main, and this is what Safari can encode
		{"safari", true, vp8, "- | VP8"},
	} {
		d, err := parse(offerOf(t, c.browser))
		if err != nil {
			t.Fatalf("%s: %v", c.browser, err)
		}
		var got []string
		for _, r := range d.sections {
			like := c.like
			if like != nil && like.Kind != r.kind {
				like = nil
			}
			got = append(got, names(bare().agree(r, c.joined, like)))
		}
		if s := strings.Join(got, " | "); s != c.want {
			t.Errorf("%s like %+v: %s, want %s", c.browser, c.like, s, c.want)
		}
	}
}

// Digits are agreed on for the clocks of the sound that is.
func TestAgreedEvents(t *testing.T) {
	for browser, want := range map[string][]uint8{"chrome": {110, 126}, "firefox": {101}, "safari": {110, 126}} {
		d, _ := parse(offerOf(t, browser))
		var got []uint8
		for _, e := range bare().agree(d.sections[0], false, nil).events {
			got = append(got, e.pt)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", browser, got, want)
		}
	}
}

// mustAnswer is the answer a peer gives.
func mustAnswer(t testing.TB, offer string, terms leg.Terms) *sdp.SessionDescription {
	t.Helper()
	d, err := parse(offer)
	if err != nil {
		t.Fatal(err)
	}
	s := newService(t, nil)
	var answer string
	p, _, err := s.newPeer(t.Context(), Options{SendSDP: func(s string) { answer = s }})
	if err != nil {
		t.Fatal(err)
	}
	defer p.discard()
	p.offered = d
	if err := p.answerOffer(terms); err != nil {
		t.Fatal(err)
	}
	var out sdp.SessionDescription
	if err := out.UnmarshalString(answer); err != nil {
		t.Fatalf("%v in\n%s", err, answer)
	}
	return &out
}

func attribute(m *sdp.MediaDescription, key string) string {
	v, _ := m.Attribute(key)
	return v
}

// The rules of websdk-protocol 9 for our answer.
func TestAnswerShape(t *testing.T) {
	for _, browser := range []string{"chrome", "firefox", "safari"} {
		a := mustAnswer(t, offerOf(t, browser), both)
		group, _ := a.Attribute("group")
		_, lite := a.Attribute("ice-lite")
		if len(a.MediaDescriptions) != 2 || group != "BUNDLE 0 1" || !lite {
			t.Fatalf("%s: %+v", browser, a)
		}
		streams := map[string]bool{}
		for i, m := range a.MediaDescriptions {
			_, mux := m.Attribute("rtcp-mux")
			_, sendrecv := m.Attribute("sendrecv")
			if !mux || !sendrecv || attribute(m, "setup") != "passive" || attribute(m, "ice-ufrag") == "" || !strings.HasPrefix(attribute(m, "fingerprint"), "sha-256 ") {
				t.Errorf("%s: section %d: %+v", browser, i, m.Attributes)
			}
			streams[strings.Fields(attribute(m, "msid"))[0]] = true
			if _, has := m.Attribute("candidate"); has != (i == 0) {
				t.Errorf("%s: candidates in section %d: %v", browser, i, has)
			}
			for _, x := range m.Attributes {
				if x.Key == "fmtp" && strings.Contains(x.Value, "stereo=1") {
					t.Errorf("%s: stereo is asked for: %s", browser, x.Value)
				}
			}
		}
		if len(streams) != 1 {
			t.Errorf("%s: the tracks are in %d streams", browser, len(streams))
		}
	}
}

// A section that is not wanted is rejected in its place, outside the group.
func TestAnswerRejects(t *testing.T) {
	sound := leg.Terms{SendAudio: true, Like: []leg.TrackInfo{{Kind: media.Audio, Formats: []leg.Format{format("PCMU", 8000, "")}}}}
	offer := offerOf(t, "chrome") + "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=mid:2\r\na=sctp-port:5000\r\n"
	a := mustAnswer(t, offer, sound)
	if group, _ := a.Attribute("group"); len(a.MediaDescriptions) != 3 || group != "BUNDLE 0" {
		t.Fatalf("%+v", a)
	}
	for i, m := range a.MediaDescriptions[1:] {
		_, inactive := m.Attribute("inactive")
		if m.MediaName.Port.Value != 0 || !inactive || attribute(m, "mid") != []string{"1", "2"}[i] {
			t.Errorf("section %d: %+v", i+1, m)
		}
	}
	if f := a.MediaDescriptions[0].MediaName.Formats; f[0] != "0" {
		t.Errorf("the other leg's codec is not first: %v", f)
	}
	// A recvonly page is only sent to, and one that is not to hear only heard.
	a = mustAnswer(t, strings.ReplaceAll(offerOf(t, "chrome"), "a=sendrecv", "a=recvonly"), both)
	if _, ok := a.MediaDescriptions[0].Attribute("sendonly"); !ok {
		t.Error("no sendonly for recvonly")
	}
	a = mustAnswer(t, offerOf(t, "chrome"), leg.Terms{})
	if _, ok := a.MediaDescriptions[1].Attribute("recvonly"); !ok {
		t.Error("no recvonly for terms without sending")
	}
	a = mustAnswer(t, strings.ReplaceAll(offerOf(t, "chrome"), "a=setup:actpass", "a=setup:passive"), both)
	if attribute(a.MediaDescriptions[0], "setup") != "active" {
		t.Error("no active for passive")
	}
}

// Edits that the SDK and pages make of an offer do no harm (websdk-protocol 9).
func TestMungedOffers(t *testing.T) {
	chrome := offerOf(t, "chrome")
	stripped := chrome
	for _, line := range []string{`a=rtpmap:9 .*\r\n`, `a=fmtp:9\d? .*\r\n`, `a=rtcp-fb:9\d? .*\r\n`, `a=rtpmap:96 .*\r\n`} { // stripCodecs G722,VP8
		stripped = regexp.MustCompile(line).ReplaceAllString(stripped, "")
	}
	stripped = strings.Replace(strings.Replace(stripped, " 63 9 0 ", " 63 0 ", 1), "SAVPF 96 97", "SAVPF 97", 1)
	for name, c := range map[string]struct{ offer, want string }{
		"stripCodecs":    {stripped, "opus PCMU PCMA | H264/1/42e01f"},
		"line feeds":     {strings.ReplaceAll(chrome, "\r\n", "\n"), "opus G722 PCMU PCMA | H264/1/42e01f VP8"},
		"return in line": {strings.Replace(chrome, "profile-level-id=42e01f", "profile-level-id=42e01f\r;x-google-min-bitrate=500", 1), "opus G722 PCMU PCMA | H264/1/42e01f VP8"},
		"two fmtp":       {strings.Replace(chrome, "a=rtpmap:111 opus/48000/2\r\n", "a=rtpmap:111 opus/48000/2\r\na=fmtp:111 stereo=1\r\n", 1), "opus G722 PCMU PCMA | H264/1/42e01f VP8"},
		"no fmtp":        {regexp.MustCompile(`a=fmtp:.*\r\n`).ReplaceAllString(chrome, ""), "opus G722 PCMU PCMA | H264/0/420010 VP8"},
	} {
		d, err := parse(c.offer)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := names(bare().agree(d.sections[0], false, nil)) + " | " + names(bare().agree(d.sections[1], false, nil)); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// What cannot be used is refused with a reason, and with the text for pages.
func TestBadOffers(t *testing.T) {
	s := newService(t, func(c *Config) { c.MaxPeers = 1 })
	chrome := offerOf(t, "chrome")
	for name, c := range map[string]struct {
		offer string
		info  string
	}{
		"empty":        {"", "Failed by session creation"},
		"no sections":  {"v=0\r\no=- 1 2 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n", "Failed by session creation"},
		"too long":     {chrome + strings.Repeat("a=x\r\n", maxSDP/5), "Failed by session creation"},
		"too many":     {chrome + strings.Repeat("m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n", maxSections), "Failed by session creation"},
		"twice a mid":  {strings.Replace(chrome, "a=mid:1", "a=mid:0", 1), "Failed by session creation"},
		"no codecs":    {regexp.MustCompile(`a=rtpmap:.*\r\n`).ReplaceAllString(strings.ReplaceAll(chrome, " 9 0 8 13", " 13"), ""), "No common codecs"},
		"no mux":       {strings.ReplaceAll(chrome, "a=rtcp-mux\r\n", ""), "No common codecs"},
		"all inactive": {strings.ReplaceAll(chrome, "a=sendrecv", "a=inactive"), "No common codecs"},
	} {
		_, _, err := s.Accept(t.Context(), c.offer, Options{})
		e, ok := err.(*Error)
		if !ok || e.CallInfo() != c.info {
			t.Errorf("%s: %v", name, err)
		}
	}
	p, _, err := s.Accept(t.Context(), chrome, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Publish(t.Context(), chrome, Options{}); err == nil || !strings.Contains(err.Error(), "webrtc.max_peers") || err.(*Error).StreamInfo() != "Failed by error" {
		t.Errorf("one too many: %v", err)
	}
	hangUp(t, p)
	// Refused only when the answer is made: the codec of the other leg decides.
	waitFor(t, "the place", func() bool { return s.Peers() == 0 })
	p, _, err = s.Accept(t.Context(), strings.ReplaceAll(chrome, "a=fingerprint", "a=x-fingerprint"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	wantEvent(t, p, leg.Trying)
	p.Answer(both)
	if e := wantEvent(t, p, leg.Ended); e.Cause.Kind != leg.Setup || p.Err() == nil {
		t.Errorf("%+v", e.Cause)
	}
	waitFor(t, "the place", func() bool { return s.Peers() == 0 })
	p, _, err = s.Accept(t.Context(), chrome, Options{})
	if err != nil {
		t.Fatal(err)
	}
	wantEvent(t, p, leg.Trying)
	p.Answer(leg.Terms{Like: []leg.TrackInfo{}})
	if e := wantEvent(t, p, leg.Ended); e.Cause.Kind != leg.NoCommonCodecs || e.Cause.Kind.Info() != "No common codecs" {
		t.Errorf("%+v", e.Cause)
	}
}

// Our offers: the other leg's codecs first, all candidates, actpass, one stream,
// and no pictures if it has none.
func TestOfferShape(t *testing.T) {
	s := newService(t, nil)
	offer := func(like ...leg.TrackInfo) *sdp.SessionDescription {
		t.Helper()
		var text string
		p, err := s.Offer(t.Context(), like, Options{SendSDP: func(s string) { text = s }})
		if err != nil {
			t.Fatal(err)
		}
		hangUp(t, p)
		var d sdp.SessionDescription
		if err := d.UnmarshalString(text); err != nil {
			t.Fatal(err)
		}
		return &d
	}
	audio := leg.TrackInfo{Kind: media.Audio, Formats: []leg.Format{format("PCMA", 8000, "")}}
	video := leg.TrackInfo{Kind: media.Video, Formats: []leg.Format{format("H264", 90000, "packetization-mode=1; profile-level-id=420020"), format("H264", 90000, "profile-level-id=420020")}}
	d := offer(audio)
	if len(d.MediaDescriptions) != 1 || d.MediaDescriptions[0].MediaName.Formats[0] != "8" {
		t.Errorf("%+v", d)
	}
	d = offer(audio, video)
	if len(d.MediaDescriptions) != 2 || attribute(d.MediaDescriptions[0], "setup") != "actpass" || attribute(d.MediaDescriptions[0], "candidate") == "" {
		t.Fatalf("%+v", d)
	}
	var fmtps []string
	for _, a := range d.MediaDescriptions[1].Attributes {
		if a.Key == "fmtp" {
			fmtps = append(fmtps, a.Value)
		}
	}
	want := []string{"102 " + h264Fmtp("1", "42e020"), "103 " + h264Fmtp("1", "420020"), "104 " + h264Fmtp("0", "42e020"), "105 " + h264Fmtp("0", "420020")}
	if !slices.Equal(fmtps, want) {
		t.Errorf("%q, want %q", fmtps, want)
	}
	if _, err := s.Offer(t.Context(), []leg.TrackInfo{{Kind: media.Video, Formats: []leg.Format{format("H263", 90000, "")}}}, Options{}); err == nil {
		t.Error("an offer of nothing")
	}
}

// A browser that answers our offer with a part of it, in its own order.
func TestPartialAnswer(t *testing.T) {
	o := bare().offering(&leg.TrackInfo{Kind: media.Video, Formats: []leg.Format{format("VP8", 90000, ""), format("H264", 90000, "packetization-mode=1;profile-level-id=42e01f")}}, "1")
	d, err := parse("v=0\r\no=- 1 2 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=video 9 UDP/TLS/RTP/SAVPF 102 33\r\na=mid:1\r\na=sendonly\r\na=rtcp-mux\r\na=rtpmap:102 H264/90000\r\na=rtcp-fb:102 nack pli\r\na=rtpmap:33 VP8/90000\r\n")
	if err != nil {
		t.Fatal(err)
	}
	a := o.accepted(d.sections[0])
	if a == nil || len(a.formats) != 1 || a.formats[0].pt != 102 || a.send || !a.receive || a.twcc != 0 || a.has("nack") || !a.has("nack pli") || a.rsize {
		t.Errorf("%+v", a)
	}
	d.sections[0].refused = true
	if o.accepted(d.sections[0]) != nil {
		t.Error("a refused section is used")
	}
}

// H.264 of any two sides: what is agreed on is of one mode, and of a profile the
// browser has offered.
func TestH264Property(t *testing.T) {
	d, err := parse(offerOf(t, "chrome"))
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		fmtp := rapid.StringMatching(`(packetization-mode=[012])?; ?(profile-level-id=[0-9a-fA-F]{0,6})?`).Draw(t, "fmtp")
		a := bare().agree(d.sections[1], true, &leg.TrackInfo{Kind: media.Video, Formats: []leg.Format{format("H264", 90000, fmtp)}})
		if a == nil {
			if readH264(fmtp).mode == "2" {
				return
			}
			t.Fatal("nothing is agreed on")
		}
		ours, theirs := readH264(a.formats[0].ours), readH264(a.formats[0].theirs)
		if ours.mode != theirs.mode || ours.mode != readH264(fmtp).mode || ours.profile[:4] != theirs.profile[:4] {
			t.Fatalf("%+v for %q", a.formats[0], fmtp)
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, b := range []string{"chrome", "firefox", "safari"} {
		f.Add(offerOf(f, b))
	}
	f.Add("v=0\r\no=- 1 2 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=audio 9 RTP/AVP 0 8 300\r\na=mid:0\r\na=fmtp:0\r\na=rtpmap:8 /\r\na=extmap:1\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		d, err := parse(text)
		if err != nil {
			return
		}
		l := local{ufrag: "abcd", pwd: "0123456789012345678901", print: "sha-256 00", setup: "passive", stream: "s"}
		for _, r := range d.sections {
			a := bare().agree(r, false, nil)
			l.sections = append(l.sections, localSection{word: r.word, mid: r.mid, agreed: a})
			if a == nil {
				continue
			}
			_ = a.info()
			_ = r.transport.check()
			if o := bare().offering(&leg.TrackInfo{Kind: r.kind, Formats: a.info().Formats}, r.mid); o != nil {
				o.accepted(r)
			}
		}
		if again, err := parse(l.String()); err != nil || len(again.sections) != len(d.sections) {
			t.Fatalf("what we answer cannot be read: %v\n%s", err, l.String())
		}
	})
}
