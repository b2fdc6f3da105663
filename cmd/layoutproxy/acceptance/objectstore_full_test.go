//go:build full

package acceptance

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
)

// versitygw is the module of an object store that keeps objects as files:
// https://github.com/versity/versitygw.
const versitygw = "github.com/versity/versitygw@v1.8.0"

// versity is a running versitygw.
type versity struct {
	objectStore
	dir string // directory of the bucket
	pid int
}

// startVersity runs versitygw with an empty bucket until the test ends.
func startVersity(t *testing.T) versity {
	t.Helper()
	path := filepath.Join(installed(t, versitygw, "cmd/versitygw"), "versitygw")
	root := t.TempDir()
	v := versity{dir: filepath.Join(root, "mirror")}
	must(t, os.Mkdir(v.dir, 0o755))
	const key, secret = "acceptance", "a-secret-of-a-test"
	// versitygw does not report its port, so the test chooses a free port. If another process takes
	// that port first, the test tries again.
	for try := 0; ; try++ {
		address := freePorts(t, 1)[0]
		cmd := exec.Command(path, "--port", address, "--access", key, "--secret", secret, "--quiet", "--keep-alive", "--health", "/healthy", "posix", root)
		cmd.Env = bareEnv(t.TempDir())
		log := new(bytes.Buffer) // do not read it before cmd.Wait returns: that is a data race
		cmd.Stdout, cmd.Stderr = log, log
		must(t, cmd.Start())
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		err := healthy(t.Context(), "http://"+address+"/healthy", ended)
		if err == nil {
			t.Cleanup(func() {
				_ = cmd.Process.Signal(syscall.SIGTERM)
				if err := <-ended; err != nil && t.Failed() {
					t.Logf("versitygw: %v\n%s", err, log)
				}
			})
			v.pid = cmd.Process.Pid
			v.objectStore = newObjectStore(t, "http://"+address, "mirror", key, secret)
			return v
		}
		_ = cmd.Process.Kill()
		if err := <-ended; err == nil {
			t.Error("the killed versitygw ended without an error, want the signal")
		}
		if try == 2 {
			t.Fatalf("versitygw: %v\n%s", err, log)
		}
	}
}

// versitygw behaves like S3 in the documentation of Amazon. Each of these pages documents some of
// the checks: https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html (412,
// and 404 for If-Match without an object), …/API/API_GetObject.html (If-Match, ranges),
// …/API/API_ListObjectsV2.html (pages of at most 1,000 keys, in byte order),
// …/userguide/using-presigned-url.html (a URL is for one method, until it expires).
func TestVersitygwFollowsAmazonsDocumentation(t *testing.T) {
	v := startVersity(t)
	b, ctx := v.open(t, "facts"), t.Context()
	put := func(key, text string, options bucket.PutOptions) (bucket.Object, error) {
		return b.Put(ctx, key, strings.NewReader(text), int64(len(text)), options)
	}
	one, err := put("a", "one", bucket.PutOptions{IfAbsent: true})
	must(t, err)
	for name, options := range map[string]bucket.PutOptions{
		"a": {IfAbsent: true}, "a ": {IfMatch: "00000000000000000000000000000000"}, "absent": {IfMatch: one.ETag},
	} {
		if _, err := put(strings.TrimSpace(name), "two", options); !errors.Is(err, bucket.ErrChanged) {
			t.Errorf("Put of %q with %+v: got error %v, want ErrChanged", strings.TrimSpace(name), options, err)
		}
	}
	two, err := put("a", "second", bucket.PutOptions{IfMatch: one.ETag})
	must(t, err)
	if _, _, err := b.Get(ctx, "a", 0, -1, one.ETag); !errors.Is(err, bucket.ErrChanged) {
		t.Errorf("Get with the old ETag: got error %v, want ErrChanged", err)
	}
	body, o, err := b.Get(ctx, "a", 1, 3, two.ETag)
	must(t, err)
	if text, err := io.ReadAll(body); err != nil || string(text) != "eco" || o.Size != 6 {
		t.Errorf("Get of 3 bytes at offset 1: got %q, object size %d and error %v; want \"eco\", 6 and no error", text, o.Size, err)
	}
	if _, _, err := b.Get(ctx, "none", 0, -1, ""); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Get of a missing object: got error %v, want fs.ErrNotExist", err)
	}
	v.checkLists(t)
	v.checkPresigned(t, b)
}

// checkLists lists so many objects that the list has three pages. No S3 client wrote the objects.
func (v versity) checkLists(t *testing.T) {
	t.Helper()
	must(t, os.Mkdir(filepath.Join(v.dir, "many"), 0o755))
	const n = 2048
	for i := range n {
		must(t, os.WriteFile(filepath.Join(v.dir, "many", fmt.Sprintf("%05d", i)), nil, 0o644))
	}
	last, count := "", 0
	must(t, v.open(t, "many").List(t.Context(), "", func(o bucket.Object) error {
		if o.Key <= last {
			t.Errorf("the key %s is listed after %s, want ascending keys", o.Key, last)
		}
		if o.ETag != "" {
			t.Errorf("a file that no S3 client wrote has the ETag %s, want none", o.ETag)
		}
		last, count = o.Key, count+1
		return nil
	}))
	if count != n {
		t.Errorf("the bucket lists %d objects, want %d, one for each file", count, n)
	}
}

func (v versity) checkPresigned(t *testing.T, b bucket.Bucket) {
	t.Helper()
	url, err := b.PresignGet(t.Context(), "a", time.Minute)
	must(t, err)
	for _, c := range []struct {
		method, url, ranges string
		status              int
		body                string
	}{
		{http.MethodGet, url, "", http.StatusOK, "second"},
		{http.MethodGet, url, "bytes=1-3", http.StatusPartialContent, "eco"},
		{http.MethodHead, url, "", http.StatusForbidden, ""},
		{http.MethodGet, strings.Replace(url, "Expires=60", "Expires=61", 1), "", http.StatusForbidden, ""},
	} {
		resp, text := requestOnce(t, c.method, c.url, "Range", c.ranges)
		if resp.StatusCode != c.status || c.body != "" && text != c.body {
			t.Errorf("%s %s, range %q: got status %s and body %q, want %d and %q (empty means any body)", c.method, c.url, c.ranges, resp.Status, text, c.status, c.body)
		}
	}
}
