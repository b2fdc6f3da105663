package doctor

import (
	"strings"
	"testing"
	"unicode"
)

// FuzzServerErrors checks that the text of any server error is one short line without control
// characters.
func FuzzServerErrors(f *testing.F) {
	f.Add([]byte(`{"errors":[{"code":"DENIED","message":"a\nb\u001b[31m\u009b","detail":{"a":[1]}}]}`))
	f.Add([]byte(`{"errors":[{"detail":"` + strings.Repeat("ä", 600) + `"}]}`))
	f.Add([]byte(`<html>`))
	f.Fuzz(func(t *testing.T, body []byte) {
		if text := errorsOf(body); len(text) > 510 || strings.IndexFunc(text, unicode.IsControl) >= 0 {
			t.Errorf("error body %q: got %q, want one short line of printable text", body, text)
		}
	})
}
