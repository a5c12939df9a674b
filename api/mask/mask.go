// Package mask hides what must not be shown of the addresses users give: API
// answers, logs and metrics go through it.
package mask

import "strings"

const hidden = "***"

// URL is an address as it may be shown: as given, but without user, password
// and the values of its query, which RTMP services use for stream keys. It
// takes anything: what is not an address has nothing to hide but its query.
func URL(raw string) string {
	scheme, rest, ok := strings.Cut(raw, "://")
	if ok {
		scheme += "://"
	} else {
		scheme, rest = "", raw
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	authority, rest := rest[:end], rest[end:]
	if at := strings.LastIndexByte(authority, '@'); at >= 0 {
		authority = hidden + ":" + hidden + authority[at:]
	}
	path, query, hasQuery := strings.Cut(rest, "?")
	if !hasQuery {
		return scheme + authority + path
	}
	params := strings.Split(query, "&")
	for i, p := range params {
		if name, _, hasValue := strings.Cut(p, "="); hasValue {
			params[i] = name + "=" + hidden
		} else if p != "" {
			params[i] = hidden
		}
	}
	return scheme + authority + path + "?" + strings.Join(params, "&")
}

// KeyedURL is URL for an address whose last path segment is a stream key.
func KeyedURL(raw string) string {
	s := URL(raw)
	path, query, hasQuery := strings.Cut(s, "?")
	slash := strings.LastIndexByte(path, '/')
	if slash < 0 || strings.HasSuffix(path[:slash+1], "://") || slash+1 == len(path) {
		return s
	}
	path = path[:slash+1] + hidden
	if hasQuery {
		return path + "?" + query
	}
	return path
}
