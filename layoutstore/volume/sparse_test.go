package volume_test

import (
	"archive/tar"
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

type piece struct{ off, n int }

// pieces makes a random file of about 1500 bytes. It returns the pieces that are stored, the size of
// the file, and the data of the pieces. If holes is set, the file has holes.
func pieces(random *rand.Rand, holes bool) (all []piece, size int, stored []byte) {
	for range 1 + random.IntN(30) {
		if holes && random.IntN(3) == 0 {
			size += 1 + random.IntN(600)
		}
		n := random.IntN(100)
		all = append(all, piece{size, n})
		size += n
		for range n {
			stored = append(stored, byte(1+random.IntN(255)))
		}
	}
	if holes {
		size++ // this adds a hole at the end, so that there is at least one
	}
	if random.IntN(2) == 0 {
		all = append(all, piece{size, 0}) // GNU tar ends a map with such a piece
	}
	return all, size, stored
}

// sparseEntries returns the entries that store a sparse file, in one of the forms in the GNU tar
// manual, "Storing Sparse Files".
func sparseEntries(version, name string, all []piece, size int, stored []byte) []layouttest.Entry {
	records := []string{fmt.Sprintf("GNU.sparse.size=%d", size), fmt.Sprintf("GNU.sparse.numblocks=%d", len(all))}
	body := stored
	switch version {
	case "old":
		return []layouttest.Entry{oldSparse(name, all, size, stored)}
	case "0.0":
		for _, p := range all {
			records = append(records, fmt.Sprintf("GNU.sparse.offset=%d", p.off), fmt.Sprintf("GNU.sparse.numbytes=%d", p.n))
		}
		records = append(records, "path="+name)
	case "0.1":
		var list []string
		for _, p := range all {
			list = append(list, fmt.Sprintf("%d,%d", p.off, p.n))
		}
		records = append(records, "GNU.sparse.name="+name, "GNU.sparse.map="+strings.Join(list, ","))
	case "1.0":
		records = []string{"GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.name=" + name, fmt.Sprintf("GNU.sparse.realsize=%d", size)}
		text := fmt.Sprintf("%d\n", len(all))
		for _, p := range all {
			text += fmt.Sprintf("%d\n%d\n", p.off, p.n)
		}
		body = append(append([]byte(text), make([]byte, -len(text)&511)...), stored...)
	}
	extended := layouttest.File("PaxHeaders/x", nil)
	for _, r := range records {
		n := len(r) + 2
		for len(fmt.Sprint(n))+len(r)+2 != n {
			n++
		}
		extended.Body = fmt.Appendf(extended.Body, "%d %s\n", n, r)
	}
	extended.Patch = map[int]string{156: "x"}
	return []layouttest.Entry{extended, {Header: tar.Header{Typeflag: tar.TypeReg, Name: "GNUSparseFile.0/x", Mode: 0o644, Format: tar.FormatUSTAR}, Body: body}}
}

// oldSparse returns an old GNU sparse entry. The header contains four pieces, and each further
// block contains 21.
func oldSparse(name string, all []piece, size int, stored []byte) layouttest.Entry {
	table := func(n int) (text string) {
		for ; n > 0 && len(all) > 0; n-- {
			text += fmt.Sprintf("%011o\x00%011o\x00", all[0].off, all[0].n)
			all = all[1:]
		}
		return text
	}
	more := func() string { return map[bool]string{true: "\x01", false: "\x00"}[len(all) > 0] }
	e := layouttest.Entry{Header: tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644}}
	e.Patch = map[int]string{124: fmt.Sprintf("%011o\x00", len(stored)), 156: "S", 386: table(4), 482: more(), 483: fmt.Sprintf("%011o\x00", size)}
	for len(all) > 0 {
		block := make([]byte, 512)
		copy(block, table(21))
		copy(block[504:], more())
		e.Body = append(e.Body, block...)
	}
	e.Body = append(e.Body, stored...)
	return e
}

// Sparse entries without holes are served, and those with holes are refused. This holds for every
// form and every map. In both cases, the scan finds the next entry.
func TestSparseEntries(t *testing.T) {
	for seed := range uint64(40) {
		random := rand.New(rand.NewPCG(seed, 0))
		for _, version := range []string{"old", "0.0", "0.1", "1.0"} {
			holes := random.IntN(2) == 0
			all, size, stored := pieces(random, holes)
			name, next := "a/blobs/sha256/"+sumOf(string(stored)), "a/blobs/sha256/"+sumOf("next")
			entries := append(sparseEntries(version, name, all, size, stored), layouttest.File(next, []byte("next")), layouttest.File("a/index.json", []byte("{}")))
			file := filepath.Join(t.TempDir(), "a.tar")
			layouttest.Tar(t, file, entries...)
			data, err := os.ReadFile(file)
			layouttest.Try(t, err)
			if body := entriesOf(data)[name]; len(body) != size {
				t.Fatalf("archive/tar reads %d bytes, want %d", len(body), size)
			}
			openTwice(t, "a.tar", data, func(t *testing.T, a *volume.Archive, problems []problem.Problem) {
				where, err := a.Locate(t.Context(), "a", digestOf(string(stored)))
				if (err != nil) != holes || len(problems) > 0 != holes {
					t.Fatalf("sparse entry: got the error %v and the problems %v, want both if the file has holes, and otherwise neither", err, problems)
				}
				if err == nil {
					if got, err := where.ReadAll(t.Context()); err != nil || !bytes.Equal(got, stored) {
						t.Errorf("sparse entry without holes: read %d of %d bytes with the error %v, want all bytes and no error", len(got), len(stored), err)
					}
				}
				if where, err = a.Locate(t.Context(), "a", digestOf("next")); err != nil || where.Size() != 4 {
					t.Errorf("Locate of the entry after the sparse one: got %v and the error %v, want 4 bytes and no error", where, err)
				}
			})
			if t.Failed() {
				t.Fatalf("the errors above are from seed %d, version %s, holes: %v, pieces %v; want no errors", seed, version, holes, all)
			}
		}
	}
}

// If a chunk set ends inside a sparse entry without holes, only the entries before it are served.
func TestSparseEntryCutShort(t *testing.T) {
	t.Parallel()
	stored := bytes.Repeat([]byte("x"), 1500)
	name, before := "a/blobs/sha256/"+sumOf(string(stored)), "a/blobs/sha256/"+sumOf("before")
	for _, version := range []string{"old", "0.0", "0.1", "1.0"} {
		file := filepath.Join(t.TempDir(), "a.tar")
		layouttest.Tar(t, file, append([]layouttest.Entry{layouttest.File("a/index.json", []byte("{}")), layouttest.File(before, []byte("before"))},
			sparseEntries(version, name, []piece{{0, len(stored)}}, len(stored), stored)...)...)
		data, err := os.ReadFile(file)
		layouttest.Try(t, err)
		dir := t.TempDir()
		at := bytes.Index(data, stored)
		layouttest.WriteFile(t, filepath.Join(dir, "a.tar.0000.chunk"), data[:at+100])
		layouttest.WriteFile(t, filepath.Join(dir, "a.tar.0001.chunk"), data[at+100:at+700])
		a := openArchive(t, dir, "")
		if p, ok := a.Problem(); !ok {
			t.Errorf("%s: Problem() = %v, false; want a problem", version, p)
		}
		if where, err := a.Locate(t.Context(), "a", digestOf("before")); err != nil || where.Size() != 6 {
			t.Errorf("%s: Locate of the entry before the sparse one: got %v and the error %v, want 6 bytes and no error", version, where, err)
		}
		if where, err := a.Locate(t.Context(), "a", digestOf(string(stored))); err == nil {
			t.Errorf("%s: Locate of the sparse entry: got %v, want an error", version, where)
		}
	}
}
