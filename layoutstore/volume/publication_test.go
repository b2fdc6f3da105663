package volume_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// If a directory has a publication, its journal decides which files are read.
func TestPublicationShowsNewFiles(t *testing.T) {
	dir := t.TempDir()
	staged := filepath.Join(dir, volume.StagedDir(1))
	layouttest.WriteFile(t, filepath.Join(staged, "b.tar"), "new")
	layouttest.WriteFile(t, filepath.Join(staged, "c.tar.0000.chunk"), "new")
	layouttest.WriteFile(t, filepath.Join(staged, "not in the journal.tar"), "new")
	layouttest.WriteFile(t, filepath.Join(staged, "app", "index.json"), `{"schemaVersion":2,"manifests":[]}`)
	for _, name := range []string{"a.tar", "b.tar", "c.tar", "c.tar.gostsum", "other.tar"} {
		layouttest.WriteFile(t, filepath.Join(dir, name), "old")
	}
	layouttest.Try(t, os.MkdirAll(filepath.Join(dir, "app", "blobs", "sha256"), 0o755))
	p := volume.Publication{Staged: volume.StagedDir(1), Remove: []string{"c.tar", "c.tar.gostsum"}}
	for _, name := range []string{"a.tar", "b.tar", "c.tar.0000.chunk", "app/index.json"} {
		info, err := os.Stat(filepath.Join(staged, filepath.FromSlash(name)))
		if err != nil { // moved already
			info, err = os.Stat(filepath.Join(dir, name))
		}
		layouttest.Try(t, err)
		p.Place = append(p.Place, volume.PublishedFileOf(name, info))
	}
	before := names(t, dir)
	if want := []string{"a.tar", "b.tar", "c.tar", "other.tar"}; !slices.Equal(before, want) {
		t.Errorf("without a journal: got the files %q, want %q", before, want)
	}
	publish(t, dir, p)
	found, err := volume.FindArchives(dir)
	if err != nil || !found.Publishing || len(found.Sets) != 4 || !found.Sets[2].Chunked || len(found.Problems) > 0 {
		t.Errorf("FindArchives during a publication: got %+v and the error %v; want 4 archives, the third in chunks, and no problems", found, err)
	}
	files, err := volume.OpenFiles(dir)
	layouttest.Try(t, err)
	defer files.Close()
	if at, ok := files.At("b.tar"); !ok || at != filepath.Join(volume.StagedDir(1), "b.tar") {
		t.Errorf("At(b.tar) = %q, %v; want the staged path, true", at, ok)
	}
	if _, err := files.Stat("c.tar.gostsum"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Stat of a file to remove: got %v, want ErrNotExist", err)
	}
	if got := layouts(t, dir); len(got.Layouts) != 1 || got.Layouts[0].Path != "app" || len(got.Problems) > 0 {
		t.Errorf("Layouts during a publication: got %+v; want the layout app, and no problems", got)
	}
	// An older file with the same size must not count as the new file.
	layouttest.Try(t, os.Chtimes(filepath.Join(dir, "a.tar"), time.Time{}, time.Now().Add(-time.Hour)))
	refused(t, dir, "a.tar: the new file is missing")
}

// If the journal is malformed, the directory cannot be read.
func TestMalformedPublications(t *testing.T) {
	for name, text := range map[string]string{
		"no JSON":               "{",
		"no format":             `{"staged":".layoutproxy-publication.1"}`,
		"a later version":       `{"format":2,"staged":".layoutproxy-publication.1"}`,
		"another place":         `{"format":1,"staged":"..","place":[]}`,
		"a path that leads out": `{"format":1,"staged":".layoutproxy-publication.1","place":[{"name":"../a.tar"}]}`,
		"a hidden name":         `{"format":1,"staged":".layoutproxy-publication.1","remove":[".layoutproxy-publication"]}`,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			layouttest.WriteFile(t, filepath.Join(dir, "a.tar"), "old")
			layouttest.WriteFile(t, filepath.Join(dir, volume.PublicationFile), text)
			refused(t, dir, volume.PublicationFile)
			if _, err := volume.ReadPublication(dir); errors.Is(err, volume.ErrLaterFormat) != (name == "a later version") {
				t.Errorf("ReadPublication: got error %v, want ErrLaterFormat only for a later version", err)
			}
			_, err := volume.FindArchives(dir)
			if later := strings.HasSuffix(err.Error(), "run the same pull again with the version of layoutproxy that began it"); later != (name == "a later version") {
				t.Errorf("FindArchives: got error %v, want a hint at the version only for a later version", err)
			}
		})
	}
}

// If a publication begins or ends between two marks, Same is false. If it begins and ends between
// them, Same is true, but Quiet is false.
func TestMarksShowPublications(t *testing.T) {
	dir := t.TempDir()
	layouttest.WriteFile(t, filepath.Join(dir, "a.tar"), "old")
	past := time.Now().Add(-time.Hour)
	layouttest.Try(t, os.Chtimes(dir, past, past))
	before := volume.MarkOf(dir)
	if again := volume.MarkOf(dir); !before.Same(again) || !before.Quiet(again) {
		t.Error("two marks differ although nothing has changed between them, want the same marks")
	}
	publish(t, dir, volume.Publication{Staged: volume.StagedDir(1)})
	if during := volume.MarkOf(dir); before.Same(during) {
		t.Error("the marks are the same although a publication has begun between them, want different marks")
	}
	layouttest.Try(t, os.Remove(filepath.Join(dir, volume.PublicationFile)))
	if after := volume.MarkOf(dir); !before.Same(after) || before.Quiet(after) {
		t.Error("a publication has begun and ended between two marks: want Same = true and Quiet = false")
	}
}

func refused(t *testing.T, dir, reason string) {
	t.Helper()
	var unfinished *volume.UnfinishedError
	if _, err := volume.FindArchives(dir); !errors.As(err, &unfinished) || !strings.Contains(err.Error(), reason) {
		t.Errorf("FindArchives: got %v, want an UnfinishedError that contains %q", err, reason)
	}
	if err := volume.CheckPublication(dir); !errors.As(err, &unfinished) {
		t.Errorf("CheckPublication: got %v, want an UnfinishedError", err)
	}
	got := layouts(t, dir)
	if len(got.Layouts) != 0 || len(got.Problems) != 1 || got.Problems[0].Kind != problem.Incomplete {
		t.Errorf("Layouts: got %+v; want no layouts, and one problem of kind incomplete", got)
	}
}

func publish(t *testing.T, dir string, p volume.Publication) {
	t.Helper()
	data, err := p.Encode()
	layouttest.Try(t, err)
	layouttest.WriteFile(t, filepath.Join(dir, volume.PublicationFile), string(data))
}

func names(t *testing.T, dir string) (all []string) {
	t.Helper()
	found, err := volume.FindArchives(dir)
	layouttest.Try(t, err)
	for _, s := range found.Sets {
		all = append(all, s.Name)
	}
	return all
}

func layouts(t *testing.T, dir string) volume.Listing {
	t.Helper()
	vol, err := volume.OpenDir(dir)
	layouttest.Try(t, err)
	defer vol.Close()
	listing, err := vol.Layouts(t.Context())
	layouttest.Try(t, err)
	return listing
}
