package rtmp

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"time"

	"lineout/api/fault"
	"lineout/api/loose"
	"lineout/api/mask"
	"lineout/outputs"
)

// terminateTimeout bounds how long /push/terminate waits for the server to
// take the end of the stream.
const terminateTimeout = 5 * time.Second

// Methods implements outputs.Output: the REST methods /push/….
func (o *Output) Methods() map[string]outputs.Method {
	return map[string]outputs.Method{
		"push/startup":   o.startup,
		"push/find":      o.find,
		"push/find_all":  o.findAll,
		"push/terminate": o.terminate,
		"push/mute":      o.mute(true),
		"push/unmute":    o.mute(false),
	}
}

// Transponder is a push as the REST API shows it.
type Transponder struct {
	MediaSessionID string   `json:"mediaSessionId"`
	StreamName     string   `json:"streamName"`
	RTMPURL        string   `json:"rtmpUrl"` // as given, secrets masked
	Width          int      `json:"width"`
	Height         int      `json:"height"`
	Muted          bool     `json:"muted"`
	SoundEnabled   bool     `json:"soundEnabled"`
	Options        struct{} `json:"options"`
	// Error says why a push fails, or does without a track; ours.
	Error string `json:"error,omitempty"`
}

func (p *Push) transponder() Transponder {
	w, h := p.size()
	return Transponder{
		MediaSessionID: p.id, StreamName: p.Name(), RTMPURL: p.shownURL(),
		Width: w, Height: h, Muted: p.Muted(), Error: p.trouble(),
	}
}

// trouble is why a push is not connected, else why it does without a track.
func (p *Push) trouble() string {
	att := p.attachment()
	if att == nil {
		return ""
	}
	err := att.Missing()
	if p.Status() != StatusActive && att.Err() != nil {
		err = att.Err()
	}
	if err == nil {
		return ""
	}
	return err.Error()
}

// shownURL is the push's address as answers show it. With a full URL the last
// path segment is the stream's key.
func (p *Push) shownURL() string {
	raw := strings.TrimSpace(p.target.URL)
	if p.addr.full {
		return mask.KeyedURL(raw)
	}
	return mask.URL(raw)
}

// startOptions are the options of /push/startup. Pages send an object; what
// else may come is no reason to refuse.
type startOptions struct{ action string }

// UnmarshalJSON implements json.Unmarshaler.
func (s *startOptions) UnmarshalJSON(raw []byte) error {
	if raw = bytes.TrimSpace(raw); len(raw) == 0 || raw[0] != '{' {
		return nil
	}
	var v struct {
		Action loose.String `json:"action"`
	}
	if err := json.Unmarshal(raw, &v); err != nil {
		return err
	}
	s.action = string(v.Action)
	return nil
}

// startup is /push/startup: one Transponder, or 400, 404 for an unknown
// stream, 409 for a second push of a stream to the same rtmpUrl.
func (o *Output) startup(ctx context.Context, decode func(any) error) (any, error) {
	var req struct {
		StreamName   loose.String `json:"streamName"`
		RTMPURL      loose.String `json:"rtmpUrl"`
		FullURL      loose.Bool   `json:"rtmpTransponderFullUrl"`
		FlashVersion loose.String `json:"rtmpFlashVersion"`
		Options      startOptions `json:"options"`
		Generate     loose.Bool   `json:"generateVideo"`
	}
	if err := decode(&req); err != nil {
		return nil, err
	}
	if req.StreamName == "" {
		return nil, fault.New(fault.BadRequest, "streamName is missing: name the stream to push")
	}
	switch req.Options.action {
	case "", "mute":
	default:
		return nil, fault.New(fault.BadRequest, "options.action %q is not supported: use \"mute\" or leave it out", req.Options.action)
	}
	t := Target{
		URL: string(req.RTMPURL), Name: string(req.StreamName), FullURL: req.FullURL.Or(o.cfg.FullURL),
		FlashVersion: string(req.FlashVersion), GenerateVideo: req.Generate.Or(o.video.Generate), Muted: req.Options.action == "mute",
	}
	if _, err := o.address(t); err != nil {
		return nil, err
	}
	stream := o.streams.Get(string(req.StreamName))
	if stream == nil {
		return nil, fault.New(fault.NotFound, "there is no stream %q", string(req.StreamName))
	}
	if err := o.Check(ctx, t); err != nil {
		return nil, err
	}
	p, err := o.Start(stream, t)
	if err != nil {
		return nil, err
	}
	return p.transponder(), nil
}

// find is /push/find: the pushes with this streamName, prefixed or plain, and
// this rtmpUrl; a missing key matches all.
func (o *Output) find(_ context.Context, decode func(any) error) (any, error) {
	var req struct {
		StreamName loose.String `json:"streamName"`
		RTMPURL    loose.String `json:"rtmpUrl"`
	}
	if err := decode(&req); err != nil {
		return nil, err
	}
	return o.listed(func(p *Push) bool {
		return p.named(string(req.StreamName)) && p.goesTo(string(req.RTMPURL))
	})
}

// findAll is /push/find_all.
func (o *Output) findAll(_ context.Context, decode func(any) error) (any, error) {
	var req struct{}
	if err := decode(&req); err != nil {
		return nil, err
	}
	return o.listed(func(*Push) bool { return true })
}

// listed answers with the matching pushes, or 404 if there are none.
func (o *Output) listed(match func(*Push) bool) (any, error) {
	var found []Transponder
	for _, p := range o.list() {
		if match(p) {
			found = append(found, p.transponder())
		}
	}
	if len(found) == 0 {
		return nil, fault.New(fault.NotFound, "no RTMP push matches")
	}
	return found, nil
}

// named matches the name at the server, with and without prefix, and that of
// the stream; "" matches all. A push by full URL hides its key, so it is found
// under the name the pages make up for it.
func (p *Push) named(name string) bool {
	return name == "" || name == p.Name() || name == p.stream.Name() || name == p.target.Name ||
		p.addr.full && name == p.out.cfg.Prefix+p.stream.Name()
}

// goesTo matches a URL that means the same place; "" matches all.
func (p *Push) goesTo(raw string) bool {
	raw = strings.TrimSpace(raw)
	if raw == "" || raw == p.target.URL || raw == p.shownURL() {
		return true
	}
	a, err := parseAddress(raw, p.addr.name, p.addr.full)
	return err == nil && a.key() == p.addr.key()
}

// terminate is /push/terminate.
func (o *Output) terminate(ctx context.Context, decode func(any) error) (any, error) {
	p, err := o.byRequest(decode)
	if err != nil {
		return nil, err
	}
	// A client that goes away does not stop the end of its push.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), terminateTimeout)
	defer cancel()
	if err := p.Terminate(ctx); err != nil {
		p.log.Warn("RTMP push was cut off", "id", p.id, "err", err)
	}
	return nil, nil
}

// mute is /push/mute and /push/unmute.
func (o *Output) mute(on bool) outputs.Method {
	return func(_ context.Context, decode func(any) error) (any, error) {
		p, err := o.byRequest(decode)
		if err != nil {
			return nil, err
		}
		p.SetMuted(on)
		return nil, nil
	}
}

// byRequest finds the push whose mediaSessionId the request gives.
func (o *Output) byRequest(decode func(any) error) (*Push, error) {
	var req struct {
		MediaSessionID loose.String `json:"mediaSessionId"`
	}
	if err := decode(&req); err != nil {
		return nil, err
	}
	if req.MediaSessionID == "" {
		return nil, fault.New(fault.BadRequest, "mediaSessionId is missing: give that of the push")
	}
	p := o.get(string(req.MediaSessionID))
	if p == nil {
		return nil, fault.New(fault.NotFound, "there is no RTMP push with mediaSessionId %q", string(req.MediaSessionID))
	}
	return p, nil
}
