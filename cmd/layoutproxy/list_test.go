package main

import (
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/layoutproxy/layoutproxy/layoutstore/bucket/buckettest"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// If the object store refuses an index of --s3-write-index, list still prints the problems of the sources.
func TestListPrintsProblemsIfNoIndexCanBeWritten(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", buckettest.AccessKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", buckettest.SecretKey)
	s3 := buckettest.Start(t)
	data, err := os.ReadFile("testdata/d8/installer.tar")
	layouttest.Try(t, err)
	s3.Write(t, "bundle/installer.tar", data)
	s3.Fail(func(r buckettest.Request) buckettest.Fault {
		if r.Operation == buckettest.Put {
			return buckettest.Fault{Status: http.StatusForbidden, Code: "AccessDenied"}
		}
		return buckettest.Fault{}
	})
	list := []string{"list", "s3://" + buckettest.Bucket + "/bundle", "--s3-endpoint", s3.URL, "--s3-path-style", "--cache-dir", "", "--s3-write-index"}
	if out, status := output(t, list...); status != 1 || s3.Counts()[buckettest.Put] == 0 {
		t.Errorf("list of an intact bundle ended with %d, want 1 because the index was refused:\n%s", status, out)
	}
	s3.Write(t, "bundle/truncated.tar", data[:len(data)/2])
	if out, status := output(t, list...); status != 3 || !strings.Contains(out, "incomplete: ") {
		t.Errorf("list of a bundle with a truncated archive ended with %d, want 3 and the problem:\n%s", status, out)
	}
}
