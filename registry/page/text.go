package page

import (
	"fmt"
	"html/template"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dustin/go-humanize"
	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
)

func functions() template.FuncMap {
	return template.FuncMap{
		"t":     visible,
		"bytes": func(n int64) string { return humanize.Bytes(uint64(max(0, n))) },
		"comma": func(n int64) string { return humanize.Comma(n) },
		"count": countOf,
		"short": shortDigest,
		"again": copyAgain,
		"iso":   func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"when":  func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
	}
}

// maxText limits how many characters of one text a page shows.
const maxText = 2000

// visible makes text from outside readable: characters that are invisible, or that reorder or
// move others, are replaced by their code point. A very long text is cut. The result is not
// escaped for HTML: the template does that.
func visible(v any) string {
	s := fmt.Sprint(v)
	if len(s) <= maxText && isPlain(s) {
		return s
	}
	var b strings.Builder
	shown := 0
	for i, r := range s {
		if shown == maxText {
			fmt.Fprintf(&b, "… (%d more bytes)", len(s)-i)
			break
		}
		shown++
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], "\uFFFD"):
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case problem.IsHidden(r):
			fmt.Fprintf(&b, `\u{%X}`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// isPlain reports whether a text has only printable ASCII.
func isPlain(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// copyAgain names the archive or chunk to copy again to fix a cause, or returns "" if copying
// would not help.
func copyAgain(c *problem.Cause) string {
	archive, p := filepath.Base(c.First.Path), c.First
	switch {
	case !p.IsFailure() || p.Kind != problem.Damaged && p.Kind != problem.Incomplete || !strings.HasSuffix(archive, ".tar"):
		return ""
	case p.Chunk() != "":
		return archive + ", " + p.Chunk()
	}
	return archive
}

func countOf(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return humanize.Comma(int64(n)) + " " + many
}

// shortDigest shortens a digest to its first twelve hex digits.
func shortDigest(d digest.Digest) string {
	algorithm, hex, _ := strings.Cut(string(d), ":")
	return algorithm + ":" + hex[:min(12, len(hex))]
}
