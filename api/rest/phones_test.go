package rest

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"lineout/calls/leg"
)

// The SIP phones that are registered here are listed, without their passwords.
func TestUserFindAll(t *testing.T) {
	a := newAPI(t, Config{}, nil, nil)
	require.Equal(t, http.StatusNotFound, post(a, "/rest-api/user/find_all", "").Code)
	a.Phones = func() []leg.Phone {
		return []leg.Phone{{Login: "1001", Domain: "pbx.example", Contact: "sip:1001@10.0.0.7", Source: "192.0.2.1:40000", Agent: "Phone/1", Expires: a.Now().Add(90*time.Second + time.Millisecond)}}
	}
	w := post(a, "/rest-api/user/find_all", "")
	require.Equal(t, http.StatusOK, w.Code)
	require.JSONEq(t, `[{"sipLogin":"1001","sipDomain":"pbx.example","contact":"sip:1001@10.0.0.7","source":"192.0.2.1:40000","userAgent":"Phone/1","expires":90}]`, w.Body.String())
}
