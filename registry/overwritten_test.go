package registry_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/felixge/httpsnoop"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/registry"
)

// If a file is overwritten in place after it was opened, but before its bytes are queued for the
// client, the answer never completes. This applies to content of every size and form.
func TestFileOverwrittenBeforeSend(t *testing.T) {
	t.Parallel()
	forms := map[string]func(t *testing.T, dir string, layer string, size int64) (source string, files []string){
		"tree": func(_ *testing.T, dir, layer string, _ int64) (string, []string) { return dir, []string{layer} },
		"archive": func(t *testing.T, dir, _ string, _ int64) (string, []string) {
			archive := filepath.Join(t.TempDir(), "app.tar")
			layouttest.New(t, dir).Archive(archive, layouttest.Archive{})
			return filepath.Dir(archive), []string{archive}
		},
		"chunks": func(t *testing.T, dir, _ string, size int64) (string, []string) {
			archive := filepath.Join(t.TempDir(), "app.tar")
			layouttest.New(t, dir).Archive(archive, layouttest.Archive{})
			return filepath.Dir(archive), layouttest.Split(t, archive, max(size/3, 2048)) // a large layer spans several chunks
		},
	}
	for name, form := range forms {
		for _, size := range []int64{1, 511, 512, 513, 4096, 300_000, 1_500_000, 20 << 20} {
			for _, header := range [][]string{nil, {"Range", "bytes=0-"}} {
				t.Run(fmt.Sprintf("%s of %d %v", name, size, header), func(t *testing.T) {
					dir := t.TempDir()
					l := layouttest.New(t, dir).Layout("app")
					d := l.Image(layouttest.Image{LayerSizes: []int64{size}})
					l.Tag(d, "v1")
					l.Write()
					layer := largest(t, l.Dir(), size)
					source, files := form(t, dir, filepath.Join(l.Dir(), "blobs", "sha256", layer), size)
					s := serveBare(t, source)
					h, err := registry.New(s.tree, registry.Options{})
					if err != nil {
						t.Fatal(err)
					}
					layouttest.AwaitLaterTime(t, files[len(files)-1])
					s.listen(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
						h.ServeHTTP(httpsnoop.Wrap(w, httpsnoop.Hooks{WriteHeader: func(next httpsnoop.WriteHeaderFunc) httpsnoop.WriteHeaderFunc {
							return func(code int) {
								for _, file := range files {
									rewriteInPlace(t, file)
								}
								next(code)
							}
						}}), req)
					}))
					req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/v2/app/blobs/sha256:"+layer, nil)
					if err != nil {
						t.Fatal(err)
					}
					if header != nil {
						req.Header.Set(header[0], header[1])
					}
					resp, err := s.client.Do(req)
					if err != nil {
						return // the connection was cut before the headers were sent
					}
					defer resp.Body.Close()
					n, err := io.Copy(io.Discard, resp.Body)
					if n >= size || !errors.Is(err, io.ErrUnexpectedEOF) {
						t.Errorf("the download ended after %d of %d bytes with %v, want io.ErrUnexpectedEOF", n, size, err)
					}
				})
			}
		}
	}
}

// largest returns the file name of a blob that has exactly the given size.
func largest(t *testing.T, layout string, size int64) string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(layout, "blobs", "sha256"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.Size() == size {
			return e.Name()
		}
	}
	t.Fatalf("the layout contains no blob of %d bytes, want one", size)
	return ""
}

func rewriteInPlace(t *testing.T, name string) {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Error(err)
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err == nil {
		_, err = f.WriteAt([]byte("x"), info.Size()-1)
	}
	if err != nil {
		t.Error(err)
	}
}
