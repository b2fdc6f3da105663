package main

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

	"github.com/google/go-cmp/cmp"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// copies copies the archives of testdata/d8 and cuts those that cut says yes to
// into chunks of 70,000 bytes.
func copies(t *testing.T, cut func(name string) bool) (dir string) {
	t.Helper()
	dir = t.TempDir()
	archives, err := filepath.Glob("testdata/d8/*.tar")
	if err != nil || len(archives) != 10 {
		t.Fatalf("%d archives, %v", len(archives), err)
	}
	for _, archive := range archives {
		data, err := os.ReadFile(archive)
		try(t, err)
		name := filepath.Base(archive)
		try(t, os.WriteFile(filepath.Join(dir, name), data, 0o644))
		if cut(name) {
			layouttest.Split(t, filepath.Join(dir, name), 70_000)
		}
	}
	return dir
}

func anything(string) bool { return true }
func nothing(string) bool  { return false }

// single is one source for each archive: its file, or one of its chunks.
func single(t *testing.T, dir string) (sources []string) {
	t.Helper()
	for _, pattern := range []string{"*.tar", "*.tar.0000.chunk"} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		try(t, err)
		sources = append(sources, found...)
	}
	if len(sources) != 10 {
		t.Fatalf("%d archives in %s", len(sources), dir)
	}
	return sources
}

// TestParityInPlace is TestParity without unpacking anything.
func TestParityInPlace(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	want := expected(t, "testdata/d8/expected.tsv")
	some := func(name string) bool { return name == "platform.tar" || name == "package-versions.tar" }
	chunks := copies(t, anything)
	last := single(t, chunks)
	for i, chunk := range last {
		if other := chunk[:len(chunk)-len("0000.chunk")] + "0001.chunk"; exists(other) {
			last[i] = other
		}
	}
	mixed := copies(t, some)
	loose := filepath.Join(mixed, "module-console.tar")
	try(t, unpack(loose, mixed))
	try(t, os.Remove(loose))
	for form, sources := range map[string][]string{
		"as they are":                     {"testdata/d8"},
		"chunks":                          {chunks},
		"a mix with a loose tree":         {mixed},
		"each archive a source":           single(t, copies(t, nothing)),
		"each archive a source, some cut": single(t, copies(t, some)),
		"one chunk of each set":           last,
	} {
		if os.Getenv("LAYOUTPROXY_TEST_ALL") == "" && (form == "chunks" || form == "each archive a source") {
			continue // both are in other forms, beside whole archives
		}
		t.Run(form, func(t *testing.T) {
			for range 2 { // the second time from the kept indexes
				p := start(t, append([]string{"--strict"}, sources...)...)
				if diff := cmp.Diff(want, pulled(t, p.addresses["registry"], want)); diff != "" {
					t.Error(diff)
				}
				p.signal(t, os.Interrupt)
				if err := <-p.ended; err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

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
	try(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	try(t, err)
	if err := json.Unmarshal(body, &s); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s, %v: %s", resp.Status, err, body)
	}
	return s
}

// state is that of a source in /status, and "" where it is none.
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
	publish(t, tree.Dir(), path, tag)
	archive = filepath.Join(t.TempDir(), "archive.tar")
	tree.Archive(archive, layouttest.Archive{})
	return archive
}

// Archives appear, are replaced and removed under a running server, which is told
// by the file system, or by the tick where that tells nothing.
func TestArchivesAreServedLive(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	for name, rescan := range map[string]time.Duration{
		"by events of the file system": 0,
		"by the tick":                  50 * time.Millisecond,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			flags := &serveFlags{rescan: rescan}
			flags.settle = 300 * time.Millisecond
			registry, admin := inProcess(t, flags, dir)
			has := func(repo, tag string) bool {
				return statusOf("http://"+registry+"/v2/"+repo+"/manifests/"+tag) == 200
			}
			place := func(from, name string) {
				t.Helper()
				data, err := os.ReadFile(from)
				try(t, err)
				try(t, os.WriteFile(filepath.Join(dir, "."+name), data, 0o644))
				try(t, os.Rename(filepath.Join(dir, "."+name), filepath.Join(dir, name)))
			}
			archive := filepath.Join(dir, "module-a.tar")
			place(archiveOf(t, "modules/a", "v1"), "module-a.tar")
			eventually(t, "a new archive", func() bool { return has("modules/a", "v1") && has("modules", "a") })
			if state := readStatus(t, admin).state(archive); state != "ready" {
				t.Errorf("state %q", state)
			}
			place(archiveOf(t, "modules/a", "v2"), "module-a.tar")
			eventually(t, "a replaced archive", func() bool { return has("modules/a", "v2") && !has("modules/a", "v1") })

			// A copy that takes its time, chunk by chunk.
			chunks := layouttest.Split(t, archiveOf(t, "modules/b", "v1"), 1000)
			waiting := filepath.Join(dir, "archive.tar")
			for i, chunk := range chunks {
				place(chunk, filepath.Base(chunk))
				if i == 0 {
					eventually(t, "one that is not whole", func() bool { return readStatus(t, admin).state(waiting) == "incomplete" })
				}
				if i < len(chunks)-1 && has("modules/b", "v1") {
					t.Error("half of an archive is served as if it were whole")
				}
			}
			eventually(t, "a chunk set", func() bool { return has("modules/b", "v1") })

			try(t, os.Remove(archive))
			eventually(t, "a removed archive", func() bool { return !has("modules/a", "v2") && !has("modules", "a") && has("modules", "b") })
			try(t, os.Remove(chunks0(dir)))
			eventually(t, "a chunk that is gone", func() bool {
				s := readStatus(t, admin)
				return s.state(waiting) == "incomplete" && slices.ContainsFunc(s.Problems, func(p struct{ Kind, Path, Entry, Repository, Tag, Digest, Reason string }) bool {
					return p.Kind == "incomplete" && p.Path == waiting && p.Reason != ""
				}) && !has("modules/b", "v1")
			})
			for i := range chunks[1:] {
				try(t, os.Remove(filepath.Join(dir, fmt.Sprintf("archive.tar.%04d.chunk", i+1))))
			}
			eventually(t, "nothing left", func() bool { return statusOf("http://"+registry+"/v2/modules/b/tags/list") == 404 })
		})
	}
}

func chunks0(dir string) string { return filepath.Join(dir, "archive.tar.0000.chunk") }
