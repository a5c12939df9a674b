package peers

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"lineout/test/media"
)

// Codecs of a [Softphone].
const (
	PCMA  = "PCMA"
	PCMU  = "PCMU"
	Opus  = "opus"
	G722  = "G722"
	H264  = "H264"   // packetization mode 0 only (RFC 6184)
	H264M = "H264-1" // modes 1 and 0; its own offers hold H.263, H.265 and MPEG-4 too
	VP8   = "VP8"
	None  = "none" // no video
)

// SoftphoneConfig says what a soft phone can do. The zero value is user 10006 with
// PCMA and H264, answering every call at once, not registered.
type SoftphoneConfig struct {
	User     string // default "10006"; other users of a request URI get 404
	Audio    string // PCMA, PCMU, Opus or G722; default PCMA
	Video    string // H264, H264M, VP8 or None; default H264
	Manual   bool   // ring until Accept or Hangup instead of answering at once
	Calls    int    // calls at once; default 8
	RTCPMux  bool   // RFC 5761
	Bitrate  int    // of video, bit/s; default 300000
	Sound    string // WAV file it says instead of the clip's, at the codec's rate
	KeepWAV  bool   // write the sound it receives to WAV files, see Received
	SIPTrace bool   // SIP messages go to the log

	Transport string        // with the registrar, and of its Contact: udp, tcp or tls; default udp
	TLS       *Certificates // its certificate for SIP over TLS, on port Port+1, and whom it trusts
	SRTP      string        // media encryption of baresip's module srtp: srtp, srtp-mand; default none

	Contact string // address the command "message" writes to; it must be up before

	Registrar *Registrar // register there; nil: do not
	Server    string     // register at this host:port instead, with the domain 127.0.0.1; the phone is ready before it has
	Password  string     // default "pw" + User, the registrar's rule
	Expires   int        // seconds; default 60
}

// Softphone is a running baresip. It sends the test clip, looped to 10 minutes, as its camera and microphone.
type Softphone struct {
	*Process
	User string
	Port int // SIP, UDP and TCP on 127.0.0.1

	cfg  SoftphoneConfig
	dir  string
	ctrl *control

	mu   sync.Mutex
	seen int // events handed out by WaitEvent
}

// StartSoftphone starts a soft phone and returns when it takes calls (and, with a registrar, is registered).
func StartSoftphone(t testing.TB, c SoftphoneConfig) *Softphone {
	t.Helper()
	def := func(s *string, v string) {
		if *s == "" {
			*s = v
		}
	}
	def(&c.User, "10006")
	def(&c.Audio, PCMA)
	def(&c.Video, H264)
	def(&c.Transport, "udp")
	def(&c.Password, "pw"+c.User)
	if c.Calls == 0 {
		c.Calls = 8
	}
	if c.Bitrate == 0 {
		c.Bitrate = 300000
	}
	if c.Expires == 0 {
		c.Expires = 60
	}
	clips := Clips(t)
	rtp := 10 * c.Calls
	base := Ports(t, 10+rtp) // SIP, SIP over TLS (baresip takes the next port unasked), control; then RTP
	p := &Softphone{User: c.User, Port: base, cfg: c, dir: t.TempDir()}
	modules := baresipModules(t)
	p.write(t, "config", p.config(clips, modules, base+2, base+10, base+9+rtp))
	p.write(t, "accounts", p.account())
	contacts := ""
	if c.Contact != "" {
		contacts = fmt.Sprintf("\"peer\" <%s>\n", c.Contact)
	}
	p.write(t, "contacts", contacts)
	args := []string{"-4", "-f", p.dir}
	if c.SIPTrace {
		args = append(args, "-s")
	}
	cmd := exec.Command("baresip", args...)
	cmd.Dir = p.dir
	p.Process = start(t, "softphone-"+c.User, cmd)
	p.await(t, "its control port", startTimeout, func() bool {
		ctrl, err := dialControl(base + 2)
		p.ctrl = ctrl
		return err == nil
	})
	t.Cleanup(p.ctrl.Close)
	if c.Registrar != nil {
		// The first REGISTER may be answered before the control connection is there to see it, so ask.
		p.await(t, "its registration", startTimeout, func() bool { return c.Registrar.Registered(c.User) })
	}
	return p
}

func (p *Softphone) write(t testing.TB, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(p.dir, name), []byte(text), 0o600); err != nil {
		t.Fatalf("configure the soft phone: %v", err)
	}
}

// baresipModules is the folder of baresip's modules.
func baresipModules(t testing.TB) string {
	t.Helper()
	for _, glob := range []string{"/usr/lib/baresip/modules", "/usr/lib/*/baresip/modules", "/usr/local/lib/baresip/modules"} {
		if m, _ := filepath.Glob(filepath.Join(glob, "avformat.so")); len(m) > 0 {
			return filepath.Dir(m[0])
		}
	}
	t.Fatal("baresip's modules are not installed: run tools/install-test-deps.sh")
	return ""
}

// config is baresip's configuration file. The audio half of baresip 1.0.0's
// avformat module corrupts its stack (it was built for another size of AVFrame),
// also when only the picture of a file with sound is asked for; so avformat reads
// a file without sound and aufile a WAV file.
func (p *Softphone) config(clips, modules string, ctrl, rtpFrom, rtpTo int) string {
	wav := media.Long8k
	switch p.cfg.Audio {
	case G722:
		wav = media.Long16k
	case Opus:
		wav = media.Long48k
	}
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("poll_method epoll\nsip_listen 127.0.0.1:%d\nnet_interface 127.0.0.1", p.Port)
	if p.cfg.TLS != nil {
		line("sip_certificate %s\nsip_cafile %s", p.cfg.TLS.Pair, p.cfg.TLS.CA)
	}
	line("call_local_timeout 120\ncall_max_calls %d\naudio_buffer 20-160", p.cfg.Calls)
	line("audio_source aufile,%s\naudio_player aubridge,sink\naudio_alert aubridge,alert", cmp.Or(p.cfg.Sound, filepath.Join(clips, wav)))
	line("ausrc_format s16\nauplay_format s16\nauenc_format s16\naudec_format s16")
	if p.cfg.Video != None {
		line("video_source avformat,%s", filepath.Join(clips, media.LongH264))
	}
	line("video_display fakevideo,nil\nvideo_size 640x360\nvideo_bitrate %d\nvideo_fps 25\nvidenc_format yuv420p", p.cfg.Bitrate)
	line("rtp_ports %d-%d\nrtcp_mux %s\njitter_buffer_delay 5-100\nrtp_stats yes", rtpFrom, rtpTo, yes(p.cfg.RTCPMux))
	line("module_path %s", modules)
	mods := []string{"opus", "g711", "g722", "aubridge", "avformat", "aufile", "fakevideo"}
	switch p.cfg.Video {
	case H264, H264M:
		mods = append(mods, "avcodec")
	case VP8:
		mods = append(mods, "vp8")
	}
	if p.cfg.SRTP != "" {
		mods = append(mods, "srtp")
	}
	if p.cfg.KeepWAV {
		mods = append(mods, "sndfile")
		line("snd_path %s", p.dir)
	}
	for _, m := range mods {
		line("module %s.so", m)
	}
	// No stdio module: without it baresip needs no terminal.
	line("module_tmp account.so\nmodule_app menu.so\nmodule_app ctrl_tcp.so\nctrl_tcp_listen 127.0.0.1:%d", ctrl)
	if p.cfg.Contact != "" {
		line("module_app contact.so")
	}
	line("opus_bitrate 32000\nopus_stereo no\nopus_sprop_stereo no")
	return b.String()
}

func (p *Softphone) account() string {
	c := p.cfg
	audio := c.Audio + "/8000/1"
	switch c.Audio {
	case Opus:
		audio = "opus/48000/1"
	case G722:
		audio = "G722/16000/1"
	}
	answer := "auto"
	if c.Manual {
		answer = "manual"
	}
	a := fmt.Sprintf("<sip:%s@127.0.0.1;transport=%s>;auth_user=%s;auth_pass=%s;audio_codecs=%s;answermode=%s", c.User, c.Transport, c.User, c.Password, audio, answer)
	if c.SRTP != "" {
		a += ";mediaenc=" + c.SRTP
	}
	switch c.Video {
	case H264, VP8:
		a += ";video_codecs=" + c.Video
	case None:
		a += ";video_codecs="
	}
	at := c.Server
	if c.Registrar != nil {
		if at = c.Registrar.Addr(); c.Transport == "tls" {
			at = fmt.Sprintf("127.0.0.1:%d", c.Registrar.TLSPort)
		}
	}
	if at != "" {
		return a + fmt.Sprintf(";outbound=\"sip:%s;transport=%s\";regint=%d\n", at, c.Transport, c.Expires)
	}
	return strings.Replace(a, "@127.0.0.1", fmt.Sprintf("@127.0.0.1:%d", p.Port), 1) + ";regint=0\n"
}

// URI is where the phone can be called directly.
func (p *Softphone) URI() string { return fmt.Sprintf("sip:%s@127.0.0.1:%d", p.User, p.Port) }

// Command gives baresip a command ("callstat", "listcalls", "reginfo", "uastat" ...) and returns its answer's text.
func (p *Softphone) Command(t testing.TB, name, params string) string {
	t.Helper()
	e, err := p.ctrl.command(name, params)
	if err != nil || !e.OK {
		t.Fatalf("soft phone %s: %s %s: %v %s", p.User, name, params, err, e.Data)
	}
	return e.Data
}

// Dial calls a SIP URI.
func (p *Softphone) Dial(t testing.TB, uri string) { t.Helper(); p.Command(t, "dial", uri) }

// Accept answers the call that rings.
func (p *Softphone) Accept(t testing.TB) { t.Helper(); p.Command(t, "accept", "") }

// Hangup ends the current call: BYE, CANCEL, or 486 to one that rings.
func (p *Softphone) Hangup(t testing.TB) { t.Helper(); p.Command(t, "hangup", "") }

// Hold puts the current call on hold by a re-INVITE, Resume takes it back.
func (p *Softphone) Hold(t testing.TB) { t.Helper(); p.Command(t, "hold", "") }

// Resume ends a hold.
func (p *Softphone) Resume(t testing.TB) { t.Helper(); p.Command(t, "resume", "") }

// WaitEvent returns the next event of a type that no earlier WaitEvent has passed.
func (p *Softphone) WaitEvent(t testing.TB, kind string) Event {
	t.Helper()
	return p.WaitEventFor(t, 20*time.Second, kind, func(e Event) bool { return e.Type == kind })
}

// WaitEventFor is [Softphone.WaitEvent] with a time limit and a condition.
func (p *Softphone) WaitEventFor(t testing.TB, timeout time.Duration, what string, match func(Event) bool) Event {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	e, next, err := p.ctrl.wait(p.seen, timeout, match)
	if err != nil {
		t.Fatalf("soft phone %s: waiting for %s: %v", p.User, what, err)
	}
	p.seen = next
	return e
}

// Events are all events so far.
func (p *Softphone) Events() []Event { return p.ctrl.all() }

// Received are the WAV files of the sound the phone has received, with KeepWAV. A file is complete when its call has ended.
func (p *Softphone) Received(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(p.dir, "dump-*-dec.wav"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

var encodedFrames = regexp.MustCompile(`frame [IP]:(\d+)`)

// FramesSent is how many H.264 frames the phone has encoded and sent in the calls
// that have ended; on a busy machine it leaves frames of the clip out. It waits
// for the encoder to say so, which it does at the end of a call.
func (p *Softphone) FramesSent(t testing.TB) (n int) {
	t.Helper()
	p.await(t, "its encoder's statistics", 10*time.Second, func() bool { return strings.Contains(p.Log(), "frame P:") })
	for _, m := range encodedFrames.FindAllStringSubmatch(p.Log(), -1) {
		k, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		n += k
	}
	return n
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
