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

// statusDoc is the answer of /status.
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
		t.Fatalf("%s, %v: %s", resp.Status, err, body)
	}
	return s
}

// state returns the state of a source in /status, and "" if it is not listed.
func (s statusDoc) state(path string) string {
	for _, source := range s.Sources {
		if source.Path == path {
			return source.State
		}
	}
	return ""
}

// archiveOf makes an archive of one layout with a tag.
func archiveOf(t *testing.T, path, tag string) (archive string) {
	t.Helper()
	tree := layouttest.New(t, t.TempDir())
	layouttest.Publish(t, tree.Dir(), path, tag)
	archive = filepath.Join(t.TempDir(), "archive.tar")
	tree.Archive(archive, layouttest.Archive{})
	return archive
}

// Archives appear, are replaced and removed while the server runs. It notices the changes by file
// system events, or where there are none, by periodic rescans.
func TestArchivesChangeWhileServing(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	for name, rescan := range map[string]time.Duration{
		"by events of the file system": 0,
		"by the tick":                  50 * time.Millisecond,
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
			layouttest.Eventually(t, "a new archive", func() bool { return has("modules/a", "v1") && has("modules", "a") })
			if state := readStatus(t, admin).state(archive); state != "ready" {
				t.Errorf("state %q", state)
			}
			place(archiveOf(t, "modules/a", "v2"), "module-a.tar")
			layouttest.Eventually(t, "a replaced archive", func() bool { return has("modules/a", "v2") && !has("modules/a", "v1") })

			// An archive is copied slowly, chunk by chunk.
			chunks := layouttest.Split(t, archiveOf(t, "modules/b", "v1"), 1000)
			waiting := filepath.Join(dir, "archive.tar")
			for i, chunk := range chunks {
				place(chunk, filepath.Base(chunk))
				if i == 0 {
					layouttest.Eventually(t, "an incomplete archive", func() bool { return readStatus(t, admin).state(waiting) == "incomplete" })
				}
				if i < len(chunks)-1 && has("modules/b", "v1") {
					t.Error("half of an archive is served as if it were complete")
				}
			}
			layouttest.Eventually(t, "a chunk set", func() bool { return has("modules/b", "v1") })

			layouttest.Try(t, os.Remove(archive))
			layouttest.Eventually(t, "a removed archive", func() bool { return !has("modules/a", "v2") && !has("modules", "a") && has("modules", "b") })
			layouttest.Try(t, os.Remove(chunks0(dir)))
			layouttest.Eventually(t, "a removed chunk", func() bool {
				s := readStatus(t, admin)
				return s.state(waiting) == "incomplete" && slices.ContainsFunc(s.Problems, func(p struct{ Kind, Path, Entry, Repository, Tag, Digest, Reason string }) bool {
					return p.Kind == "incomplete" && p.Path == waiting && p.Reason != ""
				}) && !has("modules/b", "v1")
			})
			for i := range chunks[1:] {
				layouttest.Try(t, os.Remove(filepath.Join(dir, fmt.Sprintf("archive.tar.%04d.chunk", i+1))))
			}
			layouttest.Eventually(t, "nothing left", func() bool { return registrytest.StatusOf("http://"+registry+"/v2/modules/b/tags/list") == 404 })
		})
	}
}

func chunks0(dir string) string { return filepath.Join(dir, "archive.tar.0000.chunk") }
