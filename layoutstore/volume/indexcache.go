package volume

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
)

// Cache is a directory that contains the indexes of archives. With a cache, the next process does not
// read the headers again. A Cache never fails: it does not store an index that it cannot write, and
// rebuilds an index that cannot be read or does not match the files. The empty Cache stores nothing.
type Cache string

// indexVersion changes when the format of cached indexes changes. Version 1 assumed that all chunks
// of a set have the same size. Version 2 did not contain the name of the first file.
const indexVersion = "layoutproxy tar index 3\n"

func (c Cache) file(s Set) string {
	sum := sha256.Sum256([]byte(absolute(s.Path())))
	return filepath.Join(string(c), hex.EncodeToString(sum[:16])+".index")
}

func absolute(name string) string {
	if bucket.IsPlace(name) {
		return name
	}
	if abs, err := filepath.Abs(name); err == nil {
		return abs
	}
	return name
}

// firstFile returns the path of the archive or of its first chunk. It is empty if that is missing.
func (s Set) firstFile() string {
	if len(s.files) == 0 {
		return ""
	}
	return absolute(s.files[0].File.String())
}

// maxIndexFile limits, in bytes, the size of a cached index. A larger index is not read. No archive
// needs more.
const maxIndexFile = 1 << 30

// load returns the cached index of the files in s, in their current state. It returns false if there is none.
func (c Cache) load(s Set) (*tarIndex, bool) {
	if c == "" {
		return nil, false
	}
	data, err := plainfile.Read(c.file(s), maxIndexFile)
	if err != nil {
		return nil, false
	}
	ix, ok := decodeIndex(data, s.beside != nil, s.indexHead()...)
	if ok {
		c.use(s, time.Now())
	}
	return ix, ok
}

// indexHead returns the texts at the start of a cached index, which identify the set.
func (s Set) indexHead() []string {
	version := indexVersion
	if s.beside != nil {
		version = objectIndexVersion
	}
	return []string{version, absolute(s.Path()), s.firstFile(), s.identity}
}

// decodeIndex decodes an index from encodeIndex. It returns false if the head differs or the index is
// damaged. documents must be set for the index of an archive in a bucket, which contains documents.
func decodeIndex(data []byte, documents bool, head ...string) (*tarIndex, bool) {
	if len(data) < sha256.Size {
		return nil, false
	}
	body, sum := data[:len(data)-sha256.Size], data[len(data)-sha256.Size:]
	if got := sha256.Sum256(body); !bytes.Equal(got[:], sum) {
		return nil, false
	}
	d := decoder{rest: body}
	for _, text := range head {
		if d.text() != text {
			return nil, false
		}
	}
	ix := d.index()
	if documents {
		ix.documents = map[string]string{}
		for range d.atMost(maxLayouts, d.count(2)) {
			layout := d.text()
			ix.documents[layout] = d.text()
		}
	}
	return ix, !d.bad && len(d.rest) == 0
}

// encodeIndex encodes an index after a head that identifies the archive. documents must be nil
// unless the archive is in a bucket.
func encodeIndex(ix *tarIndex, documents map[string]string, head ...string) []byte {
	var e encoder
	for _, text := range head {
		e.text(text)
	}
	e.index(ix)
	if documents != nil {
		e.number(int64(len(documents)))
		for _, layout := range slices.Sorted(maps.Keys(documents)) {
			e.text(layout)
			e.text(documents[layout])
		}
	}
	sum := sha256.Sum256(e.out)
	return append(e.out, sum[:]...)
}

// isComplete reports whether the archive is complete and the index represents all of it. An
// incomplete index is not stored, so the archive is scanned again next time.
func (ix *tarIndex) isComplete(s Set) bool {
	return !ix.unsure && ix.broken == nil && s.seams.missingText() == ""
}

// store writes an index to the cache, if the directory is writable. For an archive in a bucket, it
// includes the documents. It renames the file into place without syncing it, because the checksum
// reveals an incomplete file.
func (c Cache) store(s Set, ix *tarIndex, documents map[string]string) {
	if c == "" || !ix.isComplete(s) {
		return
	}
	if s.beside == nil {
		documents = nil
	}
	data := encodeIndex(ix, documents, s.indexHead()...)
	if os.MkdirAll(string(c), 0o755) != nil {
		return
	}
	tmp, err := os.CreateTemp(string(c), ".tmp-*")
	if err != nil {
		return
	}
	_, err = tmp.Write(data)
	if err = errors.Join(err, tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), c.file(s))
	}
	if err != nil {
		_ = os.Remove(tmp.Name()) // if this fails, the file does no harm
	}
}

// encoder writes a cached index. Numbers are varints, and each text begins with its length.
type encoder struct{ out []byte }

func (e *encoder) number(n int64) { e.out = binary.AppendVarint(e.out, n) }

func (e *encoder) text(s string) {
	e.number(int64(len(s)))
	e.out = append(e.out, s...)
}

func (e *encoder) flag(set bool) {
	var n int64
	if set {
		n = 1
	}
	e.number(n)
}

func (e *encoder) entry(t tarEntry) {
	e.number(t.off)
	e.number(t.size)
	e.number(int64(t.header))
}

func (e *encoder) index(ix *tarIndex) {
	e.number(int64(ix.entries))
	e.number(ix.end)
	e.number(int64(len(ix.problems)))
	for _, f := range ix.problems {
		e.text(string(f.Kind))
		e.text(f.Entry)
		e.text(f.Reason)
		e.flag(f.Harmless)
	}
	e.number(int64(len(ix.headers)))
	for name, header := range ix.headers {
		e.text(name)
		e.text(header)
	}
	e.number(int64(len(ix.layouts)))
	for _, l := range ix.layouts {
		e.text(l.path)
		e.entry(l.index)
		e.number(int64(len(l.blobs)))
		for _, b := range l.blobs {
			e.out = append(e.out, b.sum[:]...)
			e.entry(b.tarEntry)
		}
		e.number(int64(len(l.odd)))
		for d, t := range l.odd {
			e.text(string(d))
			e.entry(t)
		}
	}
}

// decoder reads what an encoder wrote. Whatever counts the input claims, a decoder allocates memory
// only for items that fit into the rest of the input.
type decoder struct {
	rest []byte
	bad  bool
}

func (d *decoder) number() int64 {
	n, size := binary.Varint(d.rest)
	if size <= 0 {
		d.bad, d.rest = true, nil
		return 0
	}
	d.rest = d.rest[size:]
	return n
}

// count reads how many items follow. Each item must take at least size bytes.
func (d *decoder) count(size int) int {
	n := d.number()
	if n < 0 || n > int64(len(d.rest)/size) {
		d.bad, d.rest = true, nil
		return 0
	}
	return int(n)
}

// atMost returns n. If n is more than most, which no scan exceeds, the index is bad, and atMost returns 0. In
// memory, some items take fifty times as much as in the input, which anyone who can write into a bucket can make.
func (d *decoder) atMost(most, n int) int {
	if n > most {
		d.bad, d.rest = true, nil
		return 0
	}
	return n
}

func (d *decoder) text() string { return string(d.take(d.count(1))) }

func (d *decoder) take(n int) []byte {
	if n > len(d.rest) {
		d.bad, d.rest = true, nil
		return make([]byte, n)
	}
	b := d.rest[:n]
	d.rest = d.rest[n:]
	return b
}

func (d *decoder) entry() tarEntry {
	t := tarEntry{off: d.number(), size: d.number()}
	header := d.number()
	if t.off < 0 || t.size < 0 || header < 0 || header > t.off || header >= 1<<31 {
		d.bad = true
		return tarEntry{}
	}
	t.header = uint32(header)
	return t
}

func (d *decoder) index() *tarIndex {
	ix := &tarIndex{entries: int(d.number()), end: d.number()}
	for range d.atMost(2*maxProblems, d.count(4)) {
		ix.problems = append(ix.problems, problem.Problem{Kind: problem.Kind(d.text()), Entry: d.text(), Reason: d.text(), Harmless: d.number() != 0})
	}
	for range d.atMost(maxLinks, d.count(2)) {
		if ix.headers == nil {
			ix.headers = map[string]string{}
		}
		name := d.text()
		ix.headers[name] = d.text()
	}
	ix.layouts = make([]tarLayout, d.atMost(maxLayouts, d.count(6)))
	left := maxEntries
	for i := range ix.layouts {
		l := &ix.layouts[i]
		l.path = d.text()
		l.index = d.entry()
		l.blobs = make([]tarBlob, d.atMost(left, d.count(sha256.Size+3)))
		left -= len(l.blobs)
		for j := range l.blobs {
			l.blobs[j].sum = [sha256.Size]byte(d.take(sha256.Size))
			l.blobs[j].tarEntry = d.entry()
		}
		odd := d.atMost(left, d.count(4))
		left -= odd
		for range odd {
			if l.odd == nil {
				l.odd = map[digest.Digest]tarEntry{}
			}
			l.odd[digest.Digest(d.text())] = d.entry()
		}
	}
	return ix
}
