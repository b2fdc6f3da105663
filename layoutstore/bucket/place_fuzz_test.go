package bucket_test

import (
	"strings"
	"testing"

	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
)

// If a place is valid, its prefix contains no element "." or "..", and its string parses as the same place.
func FuzzPlace(f *testing.F) {
	for _, name := range []string{"s3://bundles", "s3://bundles/ee/", "s3://bundles/a b/%2f", "s3://bundles/../x", "s3:///x", "s3://10.0.0.1/x", "s3://bundles//x"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		p, err := bucket.ParsePlace(name)
		if err != nil {
			return
		}
		for _, element := range strings.Split(strings.TrimSuffix(p.Prefix, "/"), "/") {
			if p.Prefix != "" && (element == "" || element == "." || element == "..") {
				t.Errorf("ParsePlace(%q) accepts the prefix %q, want an error", name, p.Prefix)
			}
		}
		if again, err := bucket.ParsePlace(p.Key("")); err != nil || again != p {
			t.Errorf("ParsePlace(%q) = %+v; for the string of that place, ParsePlace = %+v, error %v; want the same place", name, p, again, err)
		}
	})
}
