package leg

var statusText = map[int]string{404: "Not Found", 408: "Request Timeout", 480: "Temporarily Unavailable", 486: "Busy Here", 488: "Not Acceptable Here",
	500: "Server Internal Error", 503: "Service Unavailable", 600: "Busy Everywhere", 603: "Decline", 606: "Not Acceptable"}

// Status is the final status with which an Inbound that was hung up before its
// answer refuses its caller.
func (c Cause) Status() (code int, text string) {
	code = 500
	switch {
	case c.Code >= 300 && c.Code < 700:
		if code = c.Code; statusText[code] == "" {
			return code, "Refused"
		}
	case c.Kind == NoCommonCodecs:
		code = 488
	case c.Kind == Normal:
		code = 603
	}
	return code, statusText[code]
}

// KindOf groups a final status of 300 or more that refused a call.
func KindOf(code int) CauseKind {
	switch code {
	case 486, 600:
		return Busy
	case 408:
		return RequestTimeout
	case 488, 606:
		return NoCommonCodecs
	}
	return Rejected
}
