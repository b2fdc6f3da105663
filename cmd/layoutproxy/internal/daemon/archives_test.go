package daemon

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/registry/registrytest"
)

type statusDoc struct {
	Generation int
	Sources    []struct {
		Path, Kind, State, Detail string
		Repositories              int
	}
	Problems []struct{ Kind, Path, Entry, Repository, Tag, Digest, Reason string }
}

func readStatus(t *testing.T, admin string) (s statusDoc) {
	t.Helper()
	resp, err := http.Get("http://" + admin + "/status")
	layouttest.Try(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	layouttest.Try(t, err)
	if err := json.Unmarshal(body, &s); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("/status: got %s, error %v, body %s; want 200 and JSON", resp.Status, err, body)
	}
	return s
}

// state returns the state of a source in /status, or "" if /status does not list the source.
func (s statusDoc) state(path string) string {
	for _, source := range s.Sources {
		if source.Path == path {
			return source.State
		}
	}
	return ""
}

func archiveOf(t *testing.T, path, tag string) (archive string) {
	t.Helper()
	tree := layouttest.New(t, t.TempDir())
	layouttest.Publish(t, tree.Dir(), path, tag)
	archive = filepath.Join(t.TempDir(), "archive.tar")
	tree.Archive(archive, layouttest.Archive{})
	return archive
}

// The server notices archives that appear, are replaced or are removed while it runs. It does so by
// file system events, or by periodic rescans where there are no events.
func TestChangedArchivesAreServed(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	for name, rescan := range map[string]time.Duration{
		"file system events": 0,
		"periodic rescans":   50 * time.Millisecond,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			registry, admin := inProcess(t, "--rescan", rescan.String(), "--settle", "300ms", dir)
			has := func(repo, tag string) bool {
				return registrytest.StatusOf("http://"+registry+"/v2/"+repo+"/manifests/"+tag) == 200
			}
			place := func(from, name string) {
				t.Helper()
				data, err := os.ReadFile(from)
				layouttest.Try(t, err)
				layouttest.Try(t, os.WriteFile(filepath.Join(dir, "."+name), data, 0o644))
				layouttest.Try(t, os.Rename(filepath.Join(dir, "."+name), filepath.Join(dir, name)))
			}
			archive := filepath.Join(dir, "module-a.tar")
			place(archiveOf(t, "modules/a", "v1"), "module-a.tar")
			layouttest.Eventually(t, "the new archive is served", func() bool { return has("modules/a", "v1") && has("modules", "a") })
			if state := readStatus(t, admin).state(archive); state != "ready" {
				t.Errorf("the archive has the state %q, want ready", state)
			}
			place(archiveOf(t, "modules/a", "v2"), "module-a.tar")
			layouttest.Eventually(t, "the replaced archive is served", func() bool { return has("modules/a", "v2") && !has("modules/a", "v1") })

			// An archive arrives slowly, chunk by chunk.
			chunks := layouttest.Split(t, archiveOf(t, "modules/b", "v1"), 1000)
			waiting := filepath.Join(dir, "archive.tar")
			for i, chunk := range chunks {
				place(chunk, filepath.Base(chunk))
				if i == 0 {
					layouttest.Eventually(t, "/status reports the archive as incomplete", func() bool { return readStatus(t, admin).state(waiting) == "incomplete" })
				}
				if i < len(chunks)-1 && has("modules/b", "v1") {
					t.Errorf("after %d of %d chunks, a tag of the archive is served, want 404", i+1, len(chunks))
				}
			}
			layouttest.Eventually(t, "the complete chunk set is served", func() bool { return has("modules/b", "v1") })

			layouttest.Try(t, os.Remove(archive))
			layouttest.Eventually(t, "the removed archive is no longer served", func() bool { return !has("modules/a", "v2") && !has("modules", "a") && has("modules", "b") })
			layouttest.Try(t, os.Remove(chunks0(dir)))
			layouttest.Eventually(t, "the archive without one chunk is reported and no longer served", func() bool {
				s := readStatus(t, admin)
				return s.state(waiting) == "incomplete" && slices.ContainsFunc(s.Problems, func(p struct{ Kind, Path, Entry, Repository, Tag, Digest, Reason string }) bool {
					return p.Kind == "incomplete" && p.Path == waiting && p.Reason != ""
				}) && !has("modules/b", "v1")
			})
			for i := range chunks[1:] {
				layouttest.Try(t, os.Remove(filepath.Join(dir, fmt.Sprintf("archive.tar.%04d.chunk", i+1))))
			}
			layouttest.Eventually(t, "the repository of the removed chunks is gone", func() bool { return registrytest.StatusOf("http://"+registry+"/v2/modules/b/tags/list") == 404 })
		})
	}
}

func chunks0(dir string) string { return filepath.Join(dir, "archive.tar.0000.chunk") }
