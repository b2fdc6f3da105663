package problem

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// Text from a bundle or a server stays on one line in a terminal, a log or a page. It cannot
// imitate other text.
func TestHiddenCharactersInForeignText(t *testing.T) {
	t.Parallel()
	for _, x := range []struct{ in, quoted, excerpt string }{
		{"app:v1 (façade) 漢字 🙂", "app:v1 (façade) 漢字 🙂", "app:v1 (façade) 漢字 🙂"},
		{"a\nb\r\n\tc", `"a\nb\r\n\tc"`, "a b c"},
		{"\x1b[2Jcleared\x07", `"\x1b[2Jcleared\a"`, "[2Jcleared"},
		{"tag\u202egnp.exe", `"tag\u202egnp.exe"`, "tag gnp.exe"},
		{"a\u200bb\u2028c\u00a0d", `"a\u200bb\u2028c\u00a0d"`, "a b c d"},
		{"  twice  spaced ", "  twice  spaced ", "twice spaced"},
	} {
		if got := OneLine(x.in); got != x.quoted {
			t.Errorf("OneLine(%q) = %s, want %s", x.in, got, x.quoted)
		}
		if got := Excerpt(x.in, 100); got != x.excerpt {
			t.Errorf("Excerpt(%q) = %q, want %q", x.in, got, x.excerpt)
		}
	}
	long := Excerpt(strings.Repeat("é", 100), 11)
	if long != strings.Repeat("é", 5)+"…" || !utf8.ValidString(long) {
		t.Errorf("Excerpt of a long text is %q, want 5 characters and an ellipsis", long)
	}
}
