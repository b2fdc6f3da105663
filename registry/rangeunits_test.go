package registry_test

import (
	"bytes"
	"net/http"
	"testing"
)

// A Range header without a set of ranges has no unit (RFC 9110, section 14.2: ranges-specifier =
// range-unit "=" range-set), so it is ignored and not refused.
func TestRangeWithoutUnitIsIgnored(t *testing.T) {
	t.Parallel()
	s := newRanged(t)
	for _, header := range []string{"bytes", "bytes 0-1", "0-1", ""} {
		r := s.get(s.blob, "Range", header)
		if r.status != http.StatusOK || !bytes.Equal(r.body, s.content) || r.header.Get("Content-Range") != "" {
			t.Errorf("Range %q: status %d, %d bytes", header, r.status, len(r.body))
		}
	}
}
