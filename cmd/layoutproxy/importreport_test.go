package main

import (
	"strings"
	"testing"

	"github.com/layoutproxy/layoutproxy/importer"
)

// An import into a bucket may repair blobs without a new generation. Its report says so.
func TestReportOfRepairWithoutGeneration(t *testing.T) {
	for repaired, want := range map[int]string{0: "(2 tags, 1.0 kB verified)\n", 1: "(2 tags, 1.0 kB verified, 1 blob repaired)\n", 2: "verified, 2 blobs repaired)\n"} {
		var out strings.Builder
		report := importer.Report{Store: "s3://mirror/store", Generation: 1, Tags: importer.Tags{Same: 2}, Blobs: importer.Blobs{Bytes: 1000, Repaired: repaired}}
		if err := printReport(&out, report); err != nil || !strings.HasSuffix(out.String(), want) {
			t.Errorf("%d repaired: got %q and error %v, want a line that ends with %q", repaired, out.String(), err, want)
		}
	}
}
