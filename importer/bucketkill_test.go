package importer_test

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/layoutproxy/layoutproxy/importer"
	"github.com/layoutproxy/layoutproxy/importer/importertest"
	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
	"github.com/layoutproxy/layoutproxy/layoutstore/bucket/buckettest"
	"github.com/layoutproxy/layoutproxy/layoutstore/bucket/s3"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// bucketVictim is the environment variable of a process that imports into a bucket: the URL of the store and
// the bundle.
const bucketVictim = "LAYOUTPROXY_TEST_BUCKET_VICTIM"

// A process that is killed at any request of an import into a bucket, before the store gets the request or
// after, leaves the old or the new state, and another import completes. LAYOUTPROXY_TEST_ALL=1 kills it at
// every request.
func TestKilledAtRequests(t *testing.T) {
	if work := os.Getenv(bucketVictim); work != "" {
		importAsVictim(t, strings.Split(work, "|"))
		return
	}
	before, after := importertest.OldBundle(t), importertest.NewBundle(t)
	old := importertest.MustContent(t, before)
	fresh := old.Over(importertest.MustContent(t, after))
	stride := 16
	if os.Getenv("LAYOUTPROXY_TEST_ALL") != "" {
		stride = 1
	}
	for _, received := range []bool{false, true} {
		t.Run(fmt.Sprintf("received %v", received), func(t *testing.T) {
			t.Parallel()
			published, kills := false, 0
			for n := 1; ; n += stride {
				s := buckettest.Start(t)
				if _, err := importInto(t, s, before); err != nil {
					t.Fatal(err)
				}
				if !killAtRequest(t, s, after, n, received) {
					break
				}
				kills++
				got := contentOfStore(t, s)
				if !maps.Equal(got, old) && !maps.Equal(got, fresh) {
					importertest.Same(t, fmt.Sprintf("request %d: neither the old nor the new state, which is", n), got, fresh)
				}
				if published = published || maps.Equal(got, fresh); published && maps.Equal(got, old) {
					t.Errorf("request %d: the old state, although an earlier request had published the new one", n)
				}
				if _, err := importInto(t, s, after); err != nil {
					t.Errorf("request %d: the second import: %v", n, err)
				}
				importertest.Same(t, fmt.Sprintf("request %d, after the second import", n), contentOfStore(t, s), fresh)
			}
			if kills < 3 || stride == 1 && (kills < 30 || published != received) {
				t.Errorf("%d kills, published %v", kills, published)
			}
		})
	}
}

// killAtRequest imports a bundle in another process, and kills that process at its nth request: before the
// store gets the request, or after. It returns false if the import ends before.
func killAtRequest(t *testing.T, s *buckettest.Server, bundle string, n int, received bool) bool {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilledAtRequests$")
	cmd.Env = append(os.Environ(), bucketVictim+"="+s.URL+"|"+bundle, "GORACE=atexit_sleep_ms=0")
	started, ended := make(chan struct{}), make(chan struct{})
	s.ResetCounts()
	s.Fail(func(r buckettest.Request) (f buckettest.Fault) {
		if r.Number == n {
			f = buckettest.Fault{Drop: !received, Then: func() {
				<-started
				if err := cmd.Process.Kill(); err != nil {
					t.Errorf("request %d: %v", n, err)
				}
				<-ended
			}}
		}
		return f
	})
	defer s.Fail(nil)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	layouttest.Try(t, cmd.Start())
	close(started)
	err := cmd.Wait()
	close(ended)
	if err == nil {
		return false
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("request %d: the process was not killed: %v\n%s", n, err, &out)
	}
	return true
}

// importAsVictim imports into a bucket until it is killed, with one request at a time.
func importAsVictim(t *testing.T, work []string) {
	c, err := s3.NewClient(s3.Options{Endpoint: work[0], Getenv: buckettest.Getenv})
	layouttest.Try(t, err)
	i, err := importer.New(importer.Options{Store: inBucket, Jobs: 1, Buckets: func(p bucket.Place) bucket.Bucket { return c.Open(p) }})
	layouttest.Try(t, err)
	_, err = i.Import(t.Context(), work[1])
	layouttest.Try(t, err)
}
