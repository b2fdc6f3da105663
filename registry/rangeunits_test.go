package registry_test

import (
	"bytes"
	"net/http"
	"testing"
)

// A Range header without "=" has no unit, because the grammar is ranges-specifier = range-unit "="
// range-set (RFC 9110, section 14.2). The server ignores such a header instead of refusing it.
func TestRangeWithoutUnitIsIgnored(t *testing.T) {
	t.Parallel()
	s := newRanged(t)
	for _, header := range []string{"bytes", "bytes 0-1", "0-1", ""} {
		r := s.get(s.blob, "Range", header)
		if r.status != http.StatusOK || !bytes.Equal(r.body, s.content) || r.header.Get("Content-Range") != "" {
			t.Errorf("Range %q is answered with %d and %d bytes, want the complete blob", header, r.status, len(r.body))
		}
	}
}
