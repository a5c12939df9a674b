package rtmp

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"time"
)

// Config holds the settings of RTMP push.
type Config struct {
	Prefix       string `setting:"rtmp_transponder_stream_name_prefix" default:"rtmp_" doc:"Put before a stream's name when it is pushed to an RTMP server."`
	FullURL      bool   `setting:"rtmp_transponder_full_url" default:"false" doc:"Take the last path segment of rtmpUrl as the whole stream name or key, when a push request does not say rtmpTransponderFullUrl."`
	FlashVersion string `setting:"rtmp_push_flash_version" default:"FMLE/3.0 (compatible; lineout)" doc:"The flashVer told to the RTMP server when a push request gives no rtmpFlashVersion."`

	ConnectTimeout time.Duration `setting:"rtmp_push_connect_timeout" default:"10s" unit:"ms" doc:"How long one attempt to connect, shake hands and start publishing may take in all."`
	WriteTimeout   time.Duration `setting:"rtmp_push_write_timeout" default:"8s" unit:"ms" doc:"How long an RTMP server may take no data before the connection counts as lost."`
	QueueDelay     time.Duration `setting:"rtmp_push_queue" default:"2s" unit:"ms" doc:"How much media may wait for a slow RTMP server before everything up to the newest key frame is dropped."`

	RetryMin   time.Duration `setting:"rtmp_push_retry_min" default:"1s" unit:"ms" doc:"Pause before a lost or failed RTMP push is tried again; it doubles with each failure."`
	RetryMax   time.Duration `setting:"rtmp_push_retry_max" default:"10s" unit:"ms" doc:"Longest pause between two tries of an RTMP push."`
	RetryTries int           `setting:"rtmp_push_retry_tries" default:"0" min:"0" doc:"Failures in a row after which an RTMP push is given up, 0 for never."`

	KeyframeInterval time.Duration `setting:"rtmp_push_keyframe_interval" default:"2s" unit:"ms" doc:"How often the source is asked for a key frame during an RTMP push, 0 for never."`
	AudioCodecs      []string      `setting:"rtmp_audio_codecs" default:"aac" doc:"Codecs of sound in RTMP pushes, best first: aac, alaw, ulaw, speex16. What the call speaks is passed on if it is among them; anything else is converted to the first that can be made. G.711 travels as FLV codec 7 and 8, Speex as 11, which many players do not know; narrow-band Speex is always converted."`
	CAFile           string        `setting:"rtmp_push_tls_ca_file" default:"" doc:"PEM file of certificate authorities trusted for rtmps:// besides those of the system."`
}

// Validate reports every bad value with the name of its setting.
func (c *Config) Validate() error {
	var errs []error
	positive := func(name string, d time.Duration) {
		if d <= 0 {
			errs = append(errs, fmt.Errorf("%s is %v, it must be more than 0", name, d))
		}
	}
	if _, err := parseAudioCodecs(c.AudioCodecs); err != nil {
		errs = append(errs, err)
	}
	positive("rtmp_push_connect_timeout", c.ConnectTimeout)
	positive("rtmp_push_write_timeout", c.WriteTimeout)
	positive("rtmp_push_queue", c.QueueDelay)
	positive("rtmp_push_retry_min", c.RetryMin)
	if c.RetryMax < c.RetryMin {
		errs = append(errs, fmt.Errorf("rtmp_push_retry_max (%v) is less than rtmp_push_retry_min (%v)", c.RetryMax, c.RetryMin))
	}
	if c.RetryTries < 0 {
		errs = append(errs, fmt.Errorf("rtmp_push_retry_tries is %d, it must be 0 or more", c.RetryTries))
	}
	if c.KeyframeInterval < 0 {
		errs = append(errs, fmt.Errorf("rtmp_push_keyframe_interval is %v, it must be 0 or more", c.KeyframeInterval))
	}
	return errors.Join(errs...)
}

// tlsConfig returns the client side of rtmps: the system's authorities, and
// those of CAFile when it is set.
func (c *Config) tlsConfig() (*tls.Config, error) {
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CAFile == "" {
		return t, nil
	}
	pem, err := os.ReadFile(c.CAFile)
	if err != nil {
		return nil, fmt.Errorf("read rtmp_push_tls_ca_file: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("rtmp_push_tls_ca_file %s holds no PEM certificate", c.CAFile)
	}
	t.RootCAs = pool
	return t, nil
}
