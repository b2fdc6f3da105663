package registry

import (
	"fmt"
	"testing"
)

func TestPlainRangesMatchParseRange(t *testing.T) {
	t.Parallel()
	numbers := []string{"", "0", "1", "9", "10", "11", "007", "+1", " 1", "x", "99999999999999999999"}
	for _, form := range []string{"bytes=%s-%s", "bytes=%s-%s,0-1", "Bytes=%s-%s", "bytes= %s-%s", "bytes=%s--%s", "bytes=%s%s"} {
		for _, a := range numbers {
			for _, b := range numbers {
				header := fmt.Sprintf(form, a, b)
				first, n, ok := parsePlainRange([]string{header}, 10)
				if !ok {
					continue
				}
				want, result := parseRange(header, 10)
				if got := fmt.Sprintf("bytes=%d-%d", first, first+n-1); result != satisfiable || got != want {
					t.Errorf("parsePlainRange(%s) = %s, but parseRange returns %s with the result %d; want the same", header, got, want, result)
				}
			}
		}
	}
	for _, header := range []string{"bytes=0-9", "bytes=3-", "bytes=3-99"} {
		if _, _, ok := parsePlainRange([]string{header}, 10); !ok {
			t.Errorf("parsePlainRange(%s) returns ok = false, want true", header)
		}
	}
}
