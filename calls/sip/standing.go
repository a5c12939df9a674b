package sip

// standing is an account that is registered for as long as the server runs.
type standing struct {
	login string
}
