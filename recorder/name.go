package recorder

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Marks before the extension of the files in record_dir that are still
// written, and of those that are being finalised.
const (
	liveMark = ".live"
	tempMark = ".tmp"
)

// maxBase leaves room in the usual 255 bytes of a file name for the longest
// suffix and a part number.
const maxBase = 255 - len(".tmp.webm.json") - len("_9999999")

// Elements of a template, with their longest length in characters (0 = no
// bound), from settings 5.
var elements = map[string]int{
	"streamName": 0, "duration": 0, "startTime": 20, "endTime": 20, "startTimeMillis": 20, "endTimeMillis": 20,
	"sessionId": 60, "mediaSessionId": 36, "login": 32, "audioCodec": 4, "videoCodec": 4,
}

// late elements stay as literals until the file is closed (rest-api 5).
var late = map[string]bool{"duration": true, "endTime": true, "endTimeMillis": true, "audioCodec": true, "videoCodec": true}

// unique elements differ from part to part, so parts need no number.
var unique = []string{"{startTime}", "{endTime}", "{startTimeMillis}", "{endTimeMillis}"}

// checkTemplate refuses what would surprise later: an element nobody knows.
func checkTemplate(t string) error {
	if strings.TrimSpace(t) == "" {
		return fmt.Errorf("the template is empty")
	}
	var err error
	expand(t, func(e string) (string, bool) {
		if _, ok := elements[e]; !ok && err == nil {
			err = fmt.Errorf("the template %q has the unknown element {%s}", t, e)
		}
		return "", false
	})
	return err
}

// uniqueParts says that a template names each part differently by itself.
func uniqueParts(t string) bool {
	for _, u := range unique {
		if strings.Contains(t, u) {
			return true
		}
	}
	return false
}

// expand replaces {element} by what value returns for it, made safe, and
// leaves those it does not know; literal text is made safe too.
func expand(t string, value func(element string) (string, bool)) string {
	var b strings.Builder
	for t != "" {
		open := strings.IndexByte(t, '{')
		end := -1
		if open >= 0 {
			end = strings.IndexByte(t[open:], '}')
		}
		if end < 0 {
			b.WriteString(safe(t))
			break
		}
		name := t[open+1 : open+end]
		b.WriteString(safe(t[:open]))
		if v, ok := value(name); ok {
			b.WriteString(safe(truncate(v, elements[name])))
		} else if _, known := elements[name]; known {
			b.WriteString("{" + name + "}")
		} else {
			b.WriteString(safe("{" + name + "}"))
		}
		t = t[open+end+1:]
	}
	return b.String()
}

func truncate(s string, runes int) string {
	if runes == 0 || utf8.RuneCountInString(s) <= runes {
		return s
	}
	return string([]rune(s)[:runes])
}

// safe percent-encodes what does not belong in a file name on any system, what
// a shell or a template would take for its own, and invalid UTF-8. It can
// never yield a path separator.
func safe(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		ok := r != utf8.RuneError && (unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.Is(unicode.M, r) || strings.ContainsRune("-_.+=@,~()", r))
		// Two dots in a row could become a way up once somebody decodes the
		// percent escapes around them.
		if r == '.' && i > 0 && s[i-1] == '.' {
			ok = false
		}
		if ok {
			b.WriteString(s[i : i+n])
		} else {
			for _, c := range []byte(s[i : i+n]) {
				fmt.Fprintf(&b, "%%%02X", c)
			}
		}
		i += n
	}
	return b.String()
}

// fit makes a whole base name out of expanded text: not hidden, not an option
// of a command, not ending like one of our working files, and short enough.
func fit(s string) string {
	s = strings.TrimRight(cut(s, maxBase), ".")
	for _, suffix := range []string{liveMark, tempMark} {
		if strings.HasSuffix(strings.ToLower(s), suffix) {
			s = cut(s, maxBase-1) + "_"
		}
	}
	if s == "" {
		return "recording"
	}
	if s[0] == '.' || s[0] == '-' {
		s = cut("_"+s, maxBase)
	}
	return s
}

// cut shortens to n bytes without breaking a character or a percent escape.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	s = s[:n]
	for len(s) > 0 {
		if r, size := utf8.DecodeLastRuneInString(s); r == utf8.RuneError && size <= 1 {
			s = s[:len(s)-1]
			continue
		}
		break
	}
	if i := strings.LastIndexByte(s, '%'); i >= 0 && i > len(s)-3 {
		s = s[:i]
	}
	return s
}

// facts are what the elements of a template stand for.
type facts struct {
	stream, mediaSession, session, login string
	// start is the sender's clock at the first frame, startServer ours.
	start, startServer time.Time
}

// early expands what is known when a part begins.
func (f facts) early(template string) string {
	return fit(expand(template, func(e string) (string, bool) {
		switch e {
		case "streamName":
			return f.stream, true
		case "mediaSessionId":
			return f.mediaSession, true
		case "sessionId":
			return f.session, true
		case "login":
			return f.login, true
		case "startTime":
			return millis(f.start), true
		case "startTimeMillis":
			return millis(f.startServer), true
		}
		return "", false
	}))
}

func millis(t time.Time) string { return strconv.FormatInt(t.UnixMilli(), 10) }

// ending are the facts known when a part is closed.
type ending struct {
	duration     time.Duration
	audio, video string
}

// final expands the late elements of a name that early made. The text around
// them is safe already.
func (m fileMeta) final(e ending) string {
	s := m.Base
	if strings.ContainsAny(s, "/\\\x00") { // not written by us
		s = safe(s)
	}
	for name := range late {
		var v string
		switch name {
		case "duration":
			v = strconv.FormatInt(e.duration.Milliseconds(), 10)
		case "endTime":
			v = strconv.FormatInt(m.StartMS+e.duration.Milliseconds(), 10)
		case "endTimeMillis":
			v = strconv.FormatInt(m.StartServerMS+e.duration.Milliseconds(), 10)
		case "audioCodec":
			v = e.audio
		case "videoCodec":
			v = e.video
		}
		s = strings.ReplaceAll(s, "{"+name+"}", v)
	}
	return fit(s)
}

// fixedName turns a fileName of a request into a template without elements.
// An extension we know is left out: the video's codec decides about it.
func fixedName(name string) string {
	for _, c := range containers {
		if n := len(name) - len(c.ext); n >= 0 && strings.EqualFold(name[n:], c.ext) {
			return name[:n]
		}
	}
	return name
}
