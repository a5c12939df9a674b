package recorder

import (
	"net/http"
	"os"
	"path/filepath"
)

// Routes implements outputs.Output: finished recordings by the name that pages
// are told as recordName (websdk-pages 4.5). There is no listing: who does not
// know a name gets nothing.
func (o *Output) Routes() map[string]http.Handler {
	if !o.cfg.Serve {
		return nil
	}
	return map[string]http.Handler{"GET /client/records/{file}": http.HandlerFunc(o.serve)}
}

// types are the media types of our files (RFC 9559, RFC 4337, RFC 5334, RFC 2361).
var types = map[string]string{".mp4": "video/mp4", ".webm": "video/webm", ".mkv": "video/matroska", ".ogg": "audio/ogg", ".wav": "audio/wav"}

// serve answers with a finished recording, or a part of it (RFC 9110 section 14).
func (o *Output) serve(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("file")
	c := containerOf(name)
	if c == nil || isTemp(name) || isLive(name) || filepath.Base(name) != name {
		http.NotFound(w, r)
		return
	}
	// Links in the folder must not lead out of it.
	root, err := os.OpenRoot(o.cfg.Dir)
	if err != nil {
		o.log.Error("recordings cannot be served", "dir", o.cfg.Dir, "err", err)
		http.NotFound(w, r)
		return
	}
	defer root.Close()
	f, err := root.Open(name)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil || !st.Mode().IsRegular() {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", types[c.ext])
	w.Header().Set("X-Content-Type-Options", "nosniff")
	http.ServeContent(w, r, "", st.ModTime(), f)
}
