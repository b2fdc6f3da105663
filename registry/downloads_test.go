package registry_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// start begins a download and reads its first 1000 bytes. It returns the rest of the body.
func (s *server) start(path string, header ...string) io.ReadCloser {
	s.Helper()
	req, err := http.NewRequestWithContext(s.Context(), http.MethodGet, s.url+path, nil)
	if err != nil {
		s.Fatal(err)
	}
	if len(header) > 0 {
		req.Header.Set(header[0], header[1])
	}
	resp, err := s.client.Do(req)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { resp.Body.Close() })
	if n, err := io.ReadFull(resp.Body, make([]byte, 1000)); err != nil {
		s.Fatalf("the download of %s ended after %d bytes with %v, want at least 1000 bytes", path, n, err)
	}
	return resp.Body
}

// sparseSize is a blob size, in bytes, that exceeds the buffers of a connection.
const sparseSize = 64 << 20

// sparse serves a blob of zeros that uses no disk space.
func sparse(t *testing.T) (s *server, file, path string) {
	t.Helper()
	l := layouttest.New(t, t.TempDir()).Layout("app")
	d := l.Blob("", []byte("any digest")).Digest
	if err := os.Truncate(l.BlobPath(d), 0); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(l.BlobPath(d), sparseSize); err != nil {
		t.Fatal(err)
	}
	l.Write()
	return serveBare(t, l.Dir()+"/.."), l.BlobPath(d), "/v2/app/blobs/" + d.String()
}

// A complete answer with wrong bytes would make a client's pull fail. So the server cuts the
// connection instead, and the client retries.
func TestTruncatedBlobCutsDownload(t *testing.T) {
	t.Parallel()
	s, file, path := sparse(t)
	for _, header := range [][]string{nil, {"Range", "bytes=5-"}, {"Range", "bytes=0-30000000,30000002-60000000"}} {
		if err := os.Truncate(file, sparseSize); err != nil {
			t.Fatal(err)
		}
		body := s.start(path, header...)
		if err := os.Truncate(file, 10); err != nil {
			t.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, body); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("with the header %v, the download ended after %d more bytes with %v, want io.ErrUnexpectedEOF", header, n, err)
		}
	}
}

func TestDownloadOfReplacedBlobCompletes(t *testing.T) {
	t.Parallel()
	s, file, path := sparse(t)
	body := s.start(path)
	overwrite(t, file+".new", bytes.Repeat([]byte("new"), 100))
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
	var total int64 = 1000
	zeros := make([]byte, 1<<20)
	for buf := make([]byte, len(zeros)); ; {
		n, err := body.Read(buf)
		total += int64(n)
		if !bytes.Equal(buf[:n], zeros[:n]) {
			t.Fatalf("the last %d bytes before offset %d are not all from the old file, want only its bytes", n, total)
		}
		if err != nil {
			if !errors.Is(err, io.EOF) || total != sparseSize {
				t.Errorf("the download ended after %d bytes with %v, want %d bytes and io.EOF", total, err, sparseSize)
			}
			return
		}
	}
}

// containerd requests open-ended ranges, and disconnects when it has enough bytes. The server must
// not report that as a problem.
func TestAbortedDownloadsAreNotReported(t *testing.T) {
	t.Parallel()
	s, _, path := sparse(t)
	var logged bytes.Buffer
	listening := httptest.NewUnstartedServer(s.handler)
	listening.Config.ErrorLog = log.New(&logged, "", 0)
	listening.Start()
	s.url = listening.URL
	for i := range 20 {
		s.start(path, "Range", fmt.Sprintf("bytes=%d-", i<<20)).Close()
		s.start(path, "Range", fmt.Sprintf("bytes=%d-60000000,60000002-", i<<20)).Close()
	}
	s.head(path).wantStatus(t, http.StatusOK)
	listening.Close() // Close waits for the handlers
	if heard := s.refusals(); logged.Len() > 0 || len(heard) > 0 {
		t.Errorf("the server logged %q and reported the refusals %v, want neither", logged.String(), heard)
	}
}

func TestConcurrentRequests(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	s := serve(t, layoutstore.Options{Sources: []string{b.Dir()}})
	want := map[string]digest.Digest{}
	for name, manifests := range b.manifests {
		for _, m := range manifests {
			want["/v2/"+name+"/manifests/"+m.Digest.String()] = m.Digest
			want["/v2/"+name+"/blobs/"+m.Digest.String()] = m.Digest
		}
	}
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for path, d := range want {
				if err := s.fetch(path, d); err != nil {
					t.Error(err)
				}
			}
		})
	}
	changing := b.Layout("install-standalone")
	for i := range 10 {
		image(changing, fmt.Sprint(i), fmt.Sprint(i))
		changing.Write()
		if _, err := s.tree.Refresh(t.Context()); err != nil {
			t.Error(err)
		}
	}
	group.Wait()
	if got := s.tags(bundleRoot + "/install-standalone"); len(got) != 10 {
		t.Errorf("tags %q", got)
	}
}

// fetch returns an error unless path has content with the digest d. Any goroutine may call it.
func (s *server) fetch(path string, d digest.Digest) error {
	resp, err := s.client.Get(s.url + path)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if got := d.Algorithm().FromBytes(body); err != nil || resp.StatusCode != http.StatusOK || got != d {
		return fmt.Errorf("GET %s: got status %d and %d bytes with the digest %s, want status 200 and the requested digest (read error: %w)", path, resp.StatusCode, len(body), got, err)
	}
	return nil
}
