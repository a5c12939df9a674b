package sip

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"lineout/calls/leg"
)

// Config are the settings of the SIP side. Names that Web Call Server has keep
// its names.
type Config struct {
	IP      string `setting:"ip" doc:"address or host name announced in SDP, Contact and Via; empty means the address of the interface that leads to the destination"`
	IPLocal string `setting:"ip_local" doc:"address the SIP and media sockets bind to; empty means all IPv4 addresses"`

	PortFrom int `setting:"port_from" default:"30000" min:"1" max:"65535" doc:"first port of the range the one SIP signalling port is taken from"`
	PortTo   int `setting:"port_to" default:"31000" min:"1" max:"65535" doc:"last port of the range the one SIP signalling port is taken from"`

	MediaPortFrom int `setting:"media_port_from" default:"31001" min:"1" max:"65535" doc:"first media port of SIP calls; RTP takes even ports, RTCP the next odd one"`
	MediaPortTo   int `setting:"media_port_to" default:"32000" min:"1" max:"65535" doc:"last media port of SIP calls"`

	UserAgent string `setting:"user_agent" doc:"product name in User-Agent and in the SDP; empty means lineout with its version"`

	Domain        string `setting:"domain" doc:"SIP domain of calls whose request names none"`
	OutboundProxy string `setting:"outbound_proxy" doc:"SIP server of calls whose request names none"`
	OutboundPort  int    `setting:"outbound_port" default:"0" min:"0" max:"65535" doc:"port of the SIP server for calls whose request names none; 0 means 5060"`

	Transport    string        `setting:"sip_transport" default:"udp" doc:"how calls reach their SIP server when the request and its address do not say: udp, tcp or tls"`
	TCP          bool          `setting:"sip_tcp" default:"true" doc:"take SIP over TCP on the port number that UDP has"`
	TLS          bool          `setting:"sip_tls" default:"false" doc:"take SIP over TLS on another port of the range; needs sip_tls_cert and sip_tls_key"`
	TLSCert      string        `setting:"sip_tls_cert" doc:"file with this server's certificate chain (PEM); shown to who connects by TLS, and to servers that ask for one"`
	TLSKey       string        `setting:"sip_tls_key" doc:"file with the private key of sip_tls_cert (PEM)"`
	TLSCA        string        `setting:"sip_tls_ca" doc:"file with the certificate authorities (PEM) trusted for SIP over TLS; empty means those of the system"`
	LargeOverTCP string        `setting:"sip_large_over_tcp" default:"known" choices:"known,try,never" doc:"when an INVITE of more than 1300 bytes goes by TCP although no transport was named: known (the server has a connection of TCP with us, or its domain's SRV records say that it takes TCP), try (whenever it accepts TCP within a second) or never; else it goes by UDP"`
	SRTP         string        `setting:"sip_srtp" default:"secure" doc:"media encryption with keys in the SDP (RFC 4568): off, secure (offered in calls over TLS), optional (offered in all calls) or required (no call without it)"`
	Keepalive    time.Duration `setting:"sip_keepalive" default:"30s" unit:"s" doc:"how often connections of TCP and TLS that this server made are pinged; 0 means never"`
	OptionsPing  time.Duration `setting:"sip_options_interval" default:"0s" unit:"s" doc:"how often a server at which an account is registered is asked for a sign of life by OPTIONS, which keeps a NAT's way open; 0 means never"`

	Codecs               []string `setting:"codecs" default:"alaw,ulaw,opus,g722,g729,speex16,speex,telephone-event,h264,vp8" doc:"codecs in order of preference; g729 and the speex ones are offered if their library is installed, see lineout codecs; cn (comfort noise) may be added"`
	CodecsExcludeSIP     []string `setting:"codecs_exclude_sip" default:"mpeg4-generic,flv,mpv" doc:"codecs not offered to SIP"`
	CodecsExcludeSIPRTMP []string `setting:"codecs_exclude_sip_rtmp" default:"opus,g729,g722,mpeg4-generic,vp8,mpv" doc:"codecs not offered to SIP when the call goes to RTMP"`
	VideoEnabled         bool     `setting:"video_enabled" default:"true" doc:"offer video to SIP"`

	RTPActivity string `setting:"rtp_activity_detecting" default:"true,60" doc:"end a call when no RTP arrives for so long: on or off, then seconds"`
	DTMF        string `setting:"dtmf" default:"rfc2833" doc:"how digits travel when a request does not say: rfc2833, info or info_relay"`
	DTMFLog     bool   `setting:"dtmf_log" default:"false" doc:"write down which digits the other side dials: in the call doctor, in its trace if that holds media (trace_media), and beside recordings; false writes that it dialled one, since digits may be somebody's PIN. CallApp is told them in any case"`

	RingingTimeout  time.Duration `setting:"sip_ringing_timeout" default:"180s" unit:"s" doc:"cancel a call that is not answered in this time"`
	ResponseTimeout time.Duration `setting:"sip_response_timeout" default:"32s" unit:"s" doc:"give up a call whose INVITE is not answered by anything in this time"`
	RegisterExpires time.Duration `setting:"sip_register_expires" default:"300s" unit:"s" doc:"lifetime asked for a registration"`
	RegistrarMin    time.Duration `setting:"sip_registrar_min_expires" default:"60s" unit:"s" min:"1s" doc:"shortest registration that SIP phones of users may ask for (423 otherwise)"`
	RegistrarMax    time.Duration `setting:"sip_registrar_max_expires" default:"3600s" unit:"s" doc:"longest registration SIP phones of users get, and that of those who do not say"`
	EarlyMedia      bool          `setting:"sip_early_media" default:"false" doc:"put what comes before the answer (183: ringing tones, announcements) into the call's stream; else it begins with the answer"`
	Redirects       int           `setting:"sip_redirects" default:"3" min:"0" max:"5" doc:"how many other addresses a call tries that is redirected (3xx); through the call's outbound proxy if it has one, else directly and without its password; 0 means none"`
	SessionExpires  time.Duration `setting:"sip_session_expires" default:"1800s" unit:"s" doc:"session timer asked for in calls: a call nobody refreshes for so long is taken to be dead; 0 means none"`
	MinSession      time.Duration `setting:"sip_session_min_expires" default:"90s" unit:"s" doc:"shortest session timer the other side may ask for"`

	Trunks            []string `setting:"sip_trunks" secret:"password" doc:"peers that may call us, one entry each: name=office and from=192.0.2.0/24|198.51.100.7 (their addresses), or user=pbx password=secret (their digest login), or both"`
	DigestAlgorithms  []string `setting:"sip_digest_algorithms" default:"SHA-256,MD5" choices:"SHA-256,MD5" doc:"what callers of sip_trunks are asked for, the best first; older peers fail unless it is MD5 alone"`
	Accounts          []string `setting:"sip_accounts" secret:"password" doc:"accounts that stay registered so that they can be called, one entry each: login=10006 password=secret domain=pbx.example, and if needed authName= proxy= port= expires= (seconds)"`
	AddContactID      bool     `setting:"sip_add_contact_id" default:"true" doc:"put an id into the Contact of accounts we register, so that calls to them are known wherever they come from; false for registrars that drop it: then calls must come from the address of the account's server"`
	IncomingMax       int      `setting:"sip_incoming_max" default:"200" min:"0" max:"100000" doc:"most calls to us at a time; more are answered 503 with Retry-After"`
	IncomingPerSource int      `setting:"sip_incoming_max_per_source" default:"100" min:"1" max:"100000" doc:"most calls to us at a time from one address"`

	LatchWindow time.Duration `setting:"rtp_latch_window" default:"10s" unit:"s" doc:"how long after an answer media from another address than announced may be accepted instead, for peers behind NAT"`
}

// Validate reports every fault of the settings, each with the setting's name.
func (c *Config) Validate() error {
	var errs []error
	add := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.IP != "" {
		if err := checkHost(c.IP); err != nil {
			add("ip: %w", err)
		}
	}
	if c.IPLocal != "" {
		if _, err := netip.ParseAddr(c.IPLocal); err != nil {
			add("ip_local: %q is not an IP address", c.IPLocal)
		}
	}
	checkRange := func(name string, from, to, least int) {
		if from < 1 || to > 65535 || to-from < least {
			add("%s_from %d and %s_to %d: want 1 to 65535 with at least %d port(s) in the range", name, from, name, to, least+1)
		}
	}
	checkRange("port", c.PortFrom, c.PortTo, 0)
	checkRange("media_port", c.MediaPortFrom, c.MediaPortTo, 2)
	for _, h := range []struct{ name, value string }{{"domain", c.Domain}, {"outbound_proxy", c.OutboundProxy}} {
		if h.value != "" {
			if _, err := parseServer(h.value); err != nil {
				add("%s: %w", h.name, err)
			}
		}
	}
	if _, err := parseTransport(c.Transport); err != nil {
		add("sip_transport: %w", err)
	}
	if _, err := parseSRTP(c.SRTP); err != nil {
		add("sip_srtp: %w", err)
	}
	if err := c.checkTLS(); err != nil {
		errs = append(errs, err)
	}
	if c.Keepalive < 0 || c.OptionsPing < 0 {
		add("sip_keepalive and sip_options_interval: want 0 or more, got %v and %v", c.Keepalive, c.OptionsPing)
	}
	if c.OutboundPort < 0 || c.OutboundPort > 65535 {
		add("outbound_port: %d is not a port", c.OutboundPort)
	}
	if hasControl(c.UserAgent) {
		add("user_agent: control characters are not allowed")
	}
	if _, err := parseActivity(c.RTPActivity); err != nil {
		add("rtp_activity_detecting: %w", err)
	}
	if _, err := parseDTMF(c.DTMF); err != nil {
		add("dtmf: %w", err)
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"sip_ringing_timeout", c.RingingTimeout}, {"sip_response_timeout", c.ResponseTimeout}} {
		if d.value <= 0 {
			add("%s: want more than 0, got %v", d.name, d.value)
		}
	}
	if c.RegisterExpires < 10*time.Second {
		add("sip_register_expires: want at least 10s, got %v", c.RegisterExpires)
	}
	if c.RegistrarMin < time.Second || c.RegistrarMax < c.RegistrarMin || c.RegistrarMax > maxExpires {
		add("sip_registrar_min_expires and sip_registrar_max_expires: want 1s to %v and the second not less than the first, got %v and %v", maxExpires, c.RegistrarMin, c.RegistrarMax)
	}
	if c.Redirects < 0 || c.Redirects > 5 {
		add("sip_redirects: want 0 to 5, got %d", c.Redirects)
	}
	if c.MinSession < time.Second || c.SessionExpires != 0 && c.SessionExpires < c.MinSession {
		add("sip_session_expires and sip_session_min_expires: want at least 1s for the second and more for the first, or 0, got %v and %v", c.SessionExpires, c.MinSession)
	}
	if _, err := parseTrunks(c.Trunks); err != nil {
		errs = append(errs, err)
	}
	if _, err := parseAccounts(c); err != nil {
		errs = append(errs, err)
	}
	if c.LatchWindow < 0 {
		add("rtp_latch_window: want 0 or more, got %v", c.LatchWindow)
	}
	return errors.Join(errs...)
}

// parseActivity reads "true,60": on or off, and the seconds. 0 means off.
func parseActivity(s string) (time.Duration, error) {
	on, secs, both := strings.Cut(strings.ReplaceAll(s, " ", ""), ",")
	enabled, err := strconv.ParseBool(strings.ToLower(on))
	if err != nil {
		return 0, fmt.Errorf("want true or false and seconds, as in true,60, got %q", s)
	}
	n := 60
	if both {
		if n, err = strconv.Atoi(secs); err != nil || n < 1 || n > 86400 {
			return 0, fmt.Errorf("want 1 to 86400 seconds after the comma, got %q", s)
		}
	}
	if !enabled {
		return 0, nil
	}
	return time.Duration(n) * time.Second, nil
}

func parseDTMF(s string) (leg.DTMF, error) {
	switch strings.ToUpper(s) {
	case "RFC2833", "RFC4733", "":
		return leg.RFC4733, nil
	case "INFO":
		return leg.INFO, nil
	case "INFO_RELAY":
		return leg.INFORelay, nil
	}
	return "", fmt.Errorf("want rfc2833, info or info_relay, got %q", s)
}

// product is what the server calls itself on the wire.
func product(configured string) string {
	if configured != "" {
		return configured
	}
	version := "dev"
	if b, ok := debug.ReadBuildInfo(); ok && strings.HasPrefix(b.Main.Version, "v") {
		version = strings.TrimPrefix(b.Main.Version, "v")
	}
	return "lineout/" + version
}
