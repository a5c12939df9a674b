package hooks

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
)

// answerError is an HTTP status that is not a success.
type answerError int

func (a answerError) Error() string {
	s := fmt.Sprintf("answered %d %s", int(a), http.StatusText(int(a)))
	switch {
	case a == http.StatusUnauthorized || a == http.StatusForbidden:
		s += " (check rest_hook_send_hash and rest_hook_secret_key, or user and password in call_app_urls)"
	case a/100 == 3:
		s += " (redirects are not followed: put the final address into call_app_urls)"
	}
	return s
}

// temporary says that the same request may succeed later (RFC 9110 section
// 15.6, 15.5.9; RFC 8470 section 5.2; RFC 6585 section 4).
func (a answerError) temporary() bool {
	return a/100 == 5 || a == http.StatusRequestTimeout || a == http.StatusTooEarly || a == http.StatusTooManyRequests
}

// newRequest makes the request of one notification, signed if the settings say
// so (hooks reference, section 2).
func newRequest(ctx context.Context, url string, body []byte, c Config) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json;charset=UTF-8")
	req.Header.Set("User-Agent", "lineout")
	if c.SendHash {
		mac := hmac.New(md5.New, []byte(c.HashSecret))
		_, _ = mac.Write(body)
		req.Header.Set("Authorization", "WCS "+hex.EncodeToString(mac.Sum(nil)))
	}
	return req, nil
}

// finish reads what little there may be of an answer, so that the connection
// can be used again. What it says does not matter.
func finish(res *http.Response) {
	_, _ = io.CopyN(io.Discard, res.Body, 64<<10)
	_ = res.Body.Close()
}
