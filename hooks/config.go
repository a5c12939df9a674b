package hooks

import (
	"errors"
	"fmt"
	"net/url"
	"time"
)

// Config is the settings of the package. The rest_… names are those of Web Call
// Server (hooks reference, section 2).
type Config struct {
	URLs     []string      `setting:"call_app_urls" secret:"true" doc:"Where each change of a call's status is told, as addresses such as http://127.0.0.1:9000/CallApp; empty means nowhere. User and password may stand in an address."`
	Methods  []string      `setting:"call_app_methods" default:"CallStatusEvent,OnMessageEvent,OnDTMFEvent" choices:"CallStatusEvent,OnMessageEvent,OnDTMFEvent,connect,ConnectionStatusEvent,RegistrationStatusEvent,OnCallEvent,call,answer,hangup,hold,unhold,transfer,TransferStatusEvent,sendDtmf,publishStream,unPublishStream,playStream,stopStream,snapshot,StreamStatusEvent,sendData" doc:"Which notifications are sent: changes of a call's status, text messages to this server, digits that the other side of a call dials; and, from connect on, what browser sessions do and become. OnDTMFEvent is not known to Web Call Server; its digits, and those of sendDtmf, may be somebody's PIN."`
	Folder   string        `setting:"call_app_folder" default:"notifications" doc:"Folder of the notifications that are not delivered yet, so that they survive a restart; created when call_app_urls is set, not to be shared by two servers. Empty keeps them in memory only."`
	MaxBytes int           `setting:"call_app_queue_bytes" default:"16777216" min:"65536" max:"1073741824" doc:"Most bytes of undelivered notifications kept for each address; what is too much goes, the oldest of ended calls first."`
	MaxAge   time.Duration `setting:"call_app_max_age" default:"24h" unit:"s" min:"60" max:"2592000" doc:"Notifications older than this are not delivered any more."`

	Disable    bool          `setting:"disable_rest_requests" default:"false" doc:"True tells nobody, whatever call_app_urls says."`
	Timeout    time.Duration `setting:"rest_request_timeout" default:"15s" unit:"s" min:"0" max:"3600" doc:"How long the answer to a notification may take; 0 means a minute."`
	Retries    int           `setting:"rest_client_request_retry_count" default:"3" min:"0" max:"1000" doc:"How often a notification is tried again that was answered with a server error (5xx, 408, 425, 429); while there is no answer at all it is tried until it is too old."`
	Retry      bool          `setting:"rest_client_request_sent_retry_enabled" default:"true" doc:"False tries every notification once only."`
	SendHash   bool          `setting:"rest_hook_send_hash" default:"false" doc:"Sign each notification by the header Authorization: WCS and the HMAC-MD5 of the body in hexadecimal digits."`
	HashSecret string        `setting:"rest_hook_secret_key" secret:"true" doc:"Key of that HMAC."`
}

// Validate checks what the tags cannot. It names addresses by their place,
// because they may hold passwords.
func (c *Config) Validate() error {
	var errs []error
	seen := map[string]int{}
	for i, raw := range c.URLs {
		u, err := url.Parse(raw)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("call_app_urls: element %d is not an address", i+1))
			continue
		case (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" || u.Fragment != "":
			errs = append(errs, fmt.Errorf("call_app_urls: element %d is not of the form http://host:port/path or https://…", i+1))
			continue
		case u.User != nil && c.SendHash:
			errs = append(errs, fmt.Errorf("call_app_urls: element %d has a user, and rest_hook_send_hash is true: both need the header Authorization, so choose one", i+1))
		}
		id := fileName(u)
		if seen[id] > 0 {
			errs = append(errs, fmt.Errorf("call_app_urls: elements %d and %d are the same address", seen[id], i+1))
		}
		seen[id] = i + 1
	}
	if c.SendHash && c.HashSecret == "" {
		errs = append(errs, errors.New("rest_hook_send_hash is true, so rest_hook_secret_key is needed"))
	}
	return errors.Join(errs...)
}
