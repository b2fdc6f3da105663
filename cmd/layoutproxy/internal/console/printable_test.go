package console

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
)

func printed(texts ...string) string {
	var b bytes.Buffer
	w := NewPrintable(&b)
	for _, text := range texts {
		if n, err := w.Write([]byte(text)); n != len(text) || err != nil {
			panic(err)
		}
	}
	return b.String()
}

func TestHiddenCharactersAreEscaped(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"tab\tand line\n":           "tab\tand line\n",
		"façade — ok ✓\n":           "façade — ok ✓\n",
		"\x1b[31mred\x1b[0m\n":      "\x1b[31mred\x1b[0m\n", // a color that layoutproxy itself writes
		ClearScreen + "x":           ClearScreen + "x",
		"\x1b]0;title\x07\n":        `\u001b]0;title\u0007` + "\n",
		"\x1b[2J\x1b[8mhidden\n":    `\u001b[2J\u001b[8mhidden` + "\n",
		"good\rbad\b\x7f\n":         `good\u000dbad\u0008\u007f` + "\n",
		"\u009b31m":                 `\u009b31m`, // U+009B alone begins an escape sequence (CSI)
		"tag\u202egnp.exe\u2066x":   `tag\u202egnp.exe\u2066x`,
		"a\u200bb\u00a0c\U000e0041": `a\u200bb\u00a0c\udb40\udc41`, // invisible or misleading characters
		"\xff\xfe broken\n":         "\xff\xfe broken\n",
	} {
		if got := printed(text); got != want {
			t.Errorf("%q is printed as %q, want %q", text, got, want)
		}
	}
}

// FuzzPrintable writes any text in two pieces. The output has no control characters other than the
// program's own sequences. Printable text stays unchanged, and JSON keeps its meaning.
func FuzzPrintable(f *testing.F) {
	f.Add("a tag\x1b[31m\n", uint8(3))
	f.Add("\x1b[H\x1b[2J\u009b", uint8(5))
	hidden := func(r rune) bool { return r != '\n' && r != '\t' && problem.IsHidden(r) }
	f.Fuzz(func(t *testing.T, text string, cut uint8) {
		text = strings.ToValidUTF8(text, "") + "\n"
		at := min(int(cut), len(text))
		got := printed(text[:at], text[at:])
		if whole := printed(text); got != whole {
			t.Errorf("%q, written in two pieces (cut at %d), is printed as %q, want %q, as in one piece", text, at, got, whole)
		}
		left := got
		for _, s := range sequences() {
			left = strings.ReplaceAll(left, s, "")
		}
		if strings.IndexFunc(left, hidden) >= 0 {
			t.Errorf("%q is printed as %q, want no hidden characters", text, got)
		}
		if strings.IndexFunc(text, hidden) < 0 && got != text {
			t.Errorf("the printable text %q is printed as %q, want it unchanged", text, got)
		}
		data, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		var back string
		if err := json.Unmarshal([]byte(printed(string(data), "\n")), &back); err != nil || back != text {
			t.Errorf("the printed JSON of %q decodes to %q (error: %v), want the same text", text, back, err)
		}
	})
}
