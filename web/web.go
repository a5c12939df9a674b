// Package web holds the pages people open: the player, the phone, a landing page, the
// call doctor and a page for developers.
// They are embedded, need no build step and load nothing from elsewhere.
package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"net/http"
	"path"
	"strings"
	"time"
)

//go:embed assets
var assets embed.FS

// policy forbids everything the pages do not need (Content Security Policy
// Level 3). The landing page may be shown in no other page's frame.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

// playerPolicy is the same for the player, which may be shown in a frame of any
// page. Media Source playback needs blob: for media; tools that measure the
// sound a viewer gets load an audio worklet from one. Only a script that runs
// in the page already can make a blob: of its origin, and what comes from
// outside reaches the page as text only, so this lets nobody in.
const playerPolicy = "default-src 'none'; script-src 'self' blob:; style-src 'self'; img-src 'self'; media-src 'self' blob:; " +
	"connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors *"

// phonePolicy is the same for the phone, which no other page may frame: a visitor
// could be led to call somebody.
const phonePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self' blob:; connect-src 'self'; " +
	"base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

// files maps what is served to the embedded file. All names are exact, so that
// a stream called "player" keeps its HLS address.
var files = map[string]string{
	"/player":                       "player.html",
	"/player/player.js":             "player.js",
	"/player/whep.js":               "whep.js",
	"/player/hls.js":                "hls.js",
	"/player/index.js":              "index.js",
	"/player/doctor.js":             "doctor.js",
	"/player/lineout.css":           "lineout.css",
	"/player/icon.svg":              "icon.svg",
	"/phone":                        "phone.html",
	"/phone/phone.js":               "phone.js",
	"/phone/line.js":                "line.js",
	"/phone/whep.js":                "whep.js",
	"/phone/tones.js":               "tones.js",
	"/phone/phone.css":              "phone.css",
	"/phone/develop.js":             "develop.js",
	"/developers":                   "develop.html",
	"/player/vendor/hls.min.js":     "vendor/hls.min.js",
	"/player/vendor/LICENSE.hls.js": "vendor/LICENSE.hls.js",
}

var types = map[string]string{".html": "text/html;charset=UTF-8", ".js": "text/javascript;charset=UTF-8", ".css": "text/css;charset=UTF-8",
	".svg": "image/svg+xml", "": "text/plain;charset=UTF-8"}

// Routes returns the handlers by http.ServeMux pattern. It fails only if the
// binary was built without a file it names.
func Routes() (map[string]http.Handler, error) {
	out := map[string]http.Handler{}
	for route, name := range files {
		csp := playerPolicy
		if name == "phone.html" {
			csp = phonePolicy
		}
		h, err := embedded(name, csp)
		if err != nil {
			return nil, err
		}
		out[route] = h
	}
	return out, nil
}

// Index returns the landing page.
func Index() (http.Handler, error) { return embedded("index.html", policy) }

// Doctor returns the page of the call doctor. It shows what the REST API lets it.
func Doctor() (http.Handler, error) { return embedded("doctor.html", policy) }

// embedded serves one embedded file with a validator, so that a browser asks again
// but does not load again.
func embedded(name, csp string) (http.Handler, error) {
	data, err := assets.ReadFile("assets/" + name)
	if err != nil {
		return nil, fmt.Errorf("page %s is not in this binary: %w", name, err)
	}
	sum := sha256.Sum256(data)
	etag := `"` + hex.EncodeToString(sum[:8]) + `"`
	kind := types[path.Ext(name)]
	if strings.Contains(name, "LICENSE") {
		kind = types[""]
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "pages are read with GET", http.StatusMethodNotAllowed)
			return
		}
		h := w.Header()
		h.Set("Content-Type", kind)
		h.Set("ETag", etag)
		h.Set("Cache-Control", "no-cache")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Content-Security-Policy", csp)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
	}), nil
}
