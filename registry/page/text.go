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

// visible returns the text of v. It replaces characters that are invisible, or that reorder or move
// others, by their code points. It truncates a very long text. It does not escape HTML, because the
// template does.
func visible(v any) string {
	s := fmt.Sprint(v)
	if len(s) <= maxText && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) {
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

// copyAgain returns the names of the archive and the chunk that should be copied again to fix a
// cause. If copying would not help, it returns "".
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

func shortDigest(d digest.Digest) string {
	algorithm, hex, _ := strings.Cut(string(d), ":")
	return algorithm + ":" + hex[:min(12, len(hex))]
}
