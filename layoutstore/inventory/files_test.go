package inventory_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/layoutproxy/layoutproxy/layoutstore/inventory"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
)

// list parses a list of files in the form "NAME SIZE, NAME SIZE".
func list(t *testing.T, text string) (files []inventory.File) {
	t.Helper()
	for part := range strings.SplitSeq(text, ",") {
		var f inventory.File
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		if _, err := fmt.Sscan(part, &f.Name, &f.Size); err != nil {
			t.Fatal(part, err)
		}
		files = append(files, f)
	}
	return files
}

func listing(t *testing.T, files string) *inventory.Inventory {
	t.Helper()
	var b inventory.Builder
	for _, f := range list(t, files) {
		b.AddFile(f)
	}
	i, err := b.Build("test")
	layouttest.Try(t, err)
	return i
}

func TestCheckFiles(t *testing.T) {
	const three = "a.tar.0000.chunk 10, a.tar.0001.chunk 11, a.tar.0002.chunk 3"
	for _, c := range []struct {
		name, listed, present string
		want                  []string // expected problems: kind, path, chunks and beginning of the reason
	}{
		{"nothing listed", "", "a.tar 1", nil},
		{"the same", "a.tar 5, x.yaml 1", "a.tar 5, x.yaml 1", nil},
		{"the same chunks", three, three, nil},
		{"an archive is missing", "a.tar 5, b.tar 6", "a.tar 5", []string{"incomplete /d/b.tar [] the archive is missing, with 6 bytes"}},
		{"all chunks are missing", three + ", b.tar 6", "b.tar 6", []string{"incomplete /d/a.tar [] all its chunks are missing, with 24 bytes"}},
		{"the last chunk is missing", three, "a.tar.0000.chunk 10, a.tar.0001.chunk 11", []string{"incomplete /d/a.tar [chunk 0002] chunk 0002 is missing (the archive has 3 chunks)"}},
		{"the first chunk is missing", three, "a.tar.0001.chunk 11, a.tar.0002.chunk 3", []string{"incomplete /d/a.tar [chunk 0000] chunk 0000 is missing (the archive has 3 chunks)"}},
		{"two chunks are missing", three, "a.tar.0001.chunk 11", []string{"incomplete /d/a.tar [chunk 0000 chunk 0002] chunk 0000, chunk 0002 are missing (the archive has 3 chunks)"}},
		{"the last, empty chunk is missing", "a.tar.0000.chunk 10, a.tar.0001.chunk 0", "a.tar.0000.chunk 10", []string{"incomplete /d/a.tar [chunk 0001] chunk 0001 is missing (the archive has 2 chunks)"}},
		{"a chunk is short", three, "a.tar.0000.chunk 10, a.tar.0001.chunk 9, a.tar.0002.chunk 3", []string{"damaged /d/a.tar [chunk 0001] chunk 0001 is of another size"}},
		{"a stale chunk", three, three + ", a.tar.0003.chunk 4", []string{"limited /d/a.tar [chunk 0003] chunk 0003 is not part of this bundle"}},
		{"joined", three, "a.tar 24", nil},
		{"joined without the last chunk", three, "a.tar 21", []string{"incomplete /d/a.tar [] only 21 of 24 bytes are present"}},
		{"joined with an additional chunk", three, "a.tar 25", []string{"damaged /d/a.tar [] it has 25 bytes, but bundle.json lists 24"}},
		{"split after the inventory was made", "a.tar 24", three, nil},
		{"split after the inventory was made, without the last chunk", "a.tar 24", "a.tar.0000.chunk 10, a.tar.0001.chunk 11", []string{"incomplete /d/a.tar [] only 21 of 24 bytes are present"}},
		{"split again", three, "a.tar.0000.chunk 12, a.tar.0001.chunk 12", nil},
		{"split again, into more chunks", three, "a.tar.0000.chunk 8, a.tar.0001.chunk 8, a.tar.0002.chunk 6, a.tar.0003.chunk 2", nil},
		{"split again, without a chunk", three, "a.tar.0000.chunk 8, a.tar.0002.chunk 6, a.tar.0003.chunk 2", []string{"incomplete /d/a.tar [] only 16 of 24 bytes are present, in different chunks than"}},
		{"split again, without a later chunk", three, "a.tar.0000.chunk 8, a.tar.0001.chunk 8, a.tar.0003.chunk 2", []string{"incomplete /d/a.tar [] only 18 of 24 bytes are present, in different chunks than"}},
		{"split again, with a stale chunk", three, "a.tar.0000.chunk 8, a.tar.0001.chunk 8, a.tar.0002.chunk 8, a.tar.0003.chunk 2", []string{"damaged /d/a.tar [] it has 26 bytes, in different chunks than"}},
		{"the file takes precedence over its chunks", "a.tar 24", "a.tar 24, a.tar.0000.chunk 10", nil},
		{"a truncated archive", "a.tar 5", "a.tar 4", []string{"incomplete /d/a.tar [] only 4 of 5 bytes are present"}},
		{"an archive that is not listed", "a.tar 5", "a.tar 5, b.tar 1", []string{"limited /d/b.tar [] not part of this bundle"}},
		{"an index that is not listed", "a/index.json 5", "a/index.json 5, b/index.json 6", []string{"limited /d/b/index.json [] not part of this bundle"}},
		{"a missing index", "a/index.json 5, b/index.json 6", "a/index.json 5", []string{"incomplete /d/b/index.json [] missing"}},
		{"an index of another size", "a/index.json 5", "a/index.json 6", []string{"damaged /d/a/index.json [] it has 6 bytes, but bundle.json lists 5"}},
		{"a missing checksum file", "a.tar 5, a.tar.gostsum 64", "a.tar 5", nil},
		{"a checksum file of another size", "a.tar 5, a.tar.gostsum 64", "a.tar 5, a.tar.gostsum 65", []string{"damaged /d/a.tar.gostsum [] it has 65 bytes"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, p := range listing(t, c.listed).CheckFiles("/d", list(t, c.present)) {
				got = append(got, fmt.Sprintf("%s %s %v %s", p.Kind, p.Path, p.Chunks, p.Reason))
				if p.IsFailure() == (p.Kind == problem.Limited) {
					t.Errorf("IsFailure() = %v for the problem %v, want false only for the kind limited", p.IsFailure(), p)
				}
			}
			if !slices.EqualFunc(got, c.want, strings.HasPrefix) {
				t.Error(cmp.Diff(c.want, got))
			}
		})
	}
}

// CheckArchive compares one archive with the inventory, and no other file.
func TestCheckArchiveIgnoresOtherFiles(t *testing.T) {
	i := listing(t, "a.tar 5, b.tar 6, x.yaml 1")
	if got := i.CheckArchive("/d", "a.tar", list(t, "a.tar 5, c.tar 1")); len(got) != 0 {
		t.Error(got)
	}
	if got := i.CheckArchive("/d", "c.tar", list(t, "a.tar 5, c.tar 1")); len(got) != 1 || got[0].Kind != problem.Limited {
		t.Error(got)
	}
	if got := i.CheckArchive("/d", "b.tar", list(t, "b.tar 5")); len(got) != 1 || got[0].Kind != problem.Incomplete {
		t.Error(got)
	}
}

func TestCompare(t *testing.T) {
	a := sample(t)
	if c := inventory.Compare(a, sample(t)); len(c.Differences) != 0 || c.A != c.B {
		t.Error(c)
	}
	var b inventory.Builder
	b.AddFile(inventory.File{Name: "platform.tar", Size: 14})
	b.AddTag("install", "v1", blob("two"))
	b.AddTag("install", "v2", blob("one"))
	b.AddTag(".", "v1", blob("root"))
	b.AddBlob(blob("layer"))
	other, err := b.Build("test")
	layouttest.Try(t, err)
	var got []string
	for _, d := range inventory.Compare(a, other).Differences {
		got = append(got, d.String())
	}
	one, two, nameless := blob("one").Digest.String(), blob("two").Digest.String(), blob("nameless").Digest.String()
	want := []string{
		"only in A: tag install:stable: " + one,
		"differs: tag install:v1: A has " + one + ", B has " + two,
		"only in B: tag install:v2: " + one,
		"only in A: untagged install@" + nameless + ": 8 bytes",
		"only in B: blob " + two + ": 3 bytes",
		"only in A: blob " + nameless + ": 8 bytes",
		"differs: archive platform.tar: A has 15 bytes, B has 14 bytes",
		"only in A: file deckhousereleases.yaml: 0 bytes",
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Different checksums are a difference, unless one of the inventories lists no files.
func TestCompareChecksums(t *testing.T) {
	a, b := sample(t), sample(t)
	for n := range b.Files {
		if b.Files[n].SHA256 != "" {
			b.Files[n].SHA256 = strings.Repeat("0", 64)
		}
	}
	if c := inventory.Compare(a, b); len(c.Differences) != 1 || c.Differences[0].Name != "platform.tar.0000.chunk" {
		t.Error(c)
	}
	b.Files = nil // an inventory without files, like that of a registry
	if c := inventory.Compare(a, b); len(c.Differences) != 0 {
		t.Error(c)
	}
}
