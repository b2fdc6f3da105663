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
	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// bucketVictim is an environment variable that makes the test binary import into a bucket, as the
// process to be killed. Its value is "URL of the test server|path of the bundle".
const bucketVictim = "LAYOUTPROXY_TEST_BUCKET_VICTIM"

// If a process is killed at any request of an import into a bucket, the store has the old or the
// new content, and a second import succeeds. After the kill, the server executes the request
// or drops it. LAYOUTPROXY_TEST_ALL=1 tries every request.
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
			// kill returns the content after a kill at the first request for which at returns true. It
			// returns nil if there is no such request.
			kill := func(what string, at func(buckettest.Request) bool) importertest.Content {
				t.Helper()
				s := buckettest.Start(t)
				if _, err := importInto(t, s, before); err != nil {
					t.Fatal(err)
				}
				if !killAtRequest(t, s, after, what, received, at) {
					return nil
				}
				got := contentOfStore(t, s)
				if _, err := importInto(t, s, after); err != nil {
					t.Errorf("killed at %s: the second import failed: %v", what, err)
				}
				importertest.Same(t, "killed at "+what+": the store after the second import", contentOfStore(t, s), fresh)
				return got
			}
			kills := 0
			for n := 1; ; n += stride {
				what := fmt.Sprintf("request %d", n)
				got := kill(what, func(r buckettest.Request) bool { return r.Number == n })
				if got == nil {
					break
				}
				kills++
				if !maps.Equal(got, old) && !maps.Equal(got, fresh) {
					importertest.Same(t, "killed at "+what+": the store has neither the old nor the new content; compared with the new:", got, fresh)
				}
			}
			if kills < 3 || stride == 1 && kills < 30 {
				t.Errorf("got %d kills, want at least 3, or 30 with LAYOUTPROXY_TEST_ALL=1", kills)
			}
			// Uploads run at the same time, so the number of requests before the one that publishes varies.
			want := old
			if received {
				want = fresh
			}
			got := kill("the request that publishes", func(r buckettest.Request) bool {
				return r.Operation == buckettest.Put && strings.HasSuffix(r.Key, journal.StateFile)
			})
			importertest.Same(t, fmt.Sprintf("killed at the request that publishes, received %v", received), got, want)
		})
	}
}

// killAtRequest imports a bundle in another process, and kills that process when the first request for
// which at returns true arrives at the server. Then the server executes the request if received is
// true, and otherwise drops it. killAtRequest returns false if the import sends no such request.
func killAtRequest(t *testing.T, s *buckettest.Server, bundle, what string, received bool, at func(buckettest.Request) bool) bool {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilledAtRequests$")
	cmd.Env = append(os.Environ(), bucketVictim+"="+s.URL+"|"+bundle, "GORACE=atexit_sleep_ms=0")
	started, ended, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	s.ResetCounts()
	killed := false
	s.Fail(func(r buckettest.Request) (f buckettest.Fault) {
		if !killed && at(r) {
			killed = true
			f = buckettest.Fault{Drop: !received, Done: func() { close(done) }, Then: func() {
				<-started
				if err := cmd.Process.Kill(); err != nil {
					t.Errorf("%s: %v", what, err)
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
		t.Fatalf("%s: the process ended with %v, want SIGKILL; its output:\n%s", what, err, &out)
	}
	<-done // otherwise, the test could read the store before the server has executed the request
	return true
}

// importAsVictim imports into a bucket until its process is killed. It reads one blob
// at a time, but uploads up to minUploads blobs at once.
func importAsVictim(t *testing.T, work []string) {
	c, err := s3.NewClient(s3.Options{Endpoint: work[0], Getenv: buckettest.Getenv})
	layouttest.Try(t, err)
	i, err := importer.New(importer.Options{Store: inBucket, Jobs: 1, Buckets: func(p bucket.Place) bucket.Bucket { return c.Open(p) }})
	layouttest.Try(t, err)
	_, err = i.Import(t.Context(), work[1])
	layouttest.Try(t, err)
}
