package volume

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
	"github.com/layoutproxy/layoutproxy/layoutstore/names"
	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
)

// objectTable contains the result of listing a bucket. It never changes.
type objectTable struct {
	sum      [sha256.Size]byte // the checksum of everything that was listed
	keys     int
	layouts  []objectLayout // by path
	problems []problem.Problem
	nested   []problem.Problem
	// found contains the archives.
	found Found
	// files contains the objects that do not belong to a layout, by key. It contains at most maxFiles
	// that an inventory may list, and at most maxFiles others.
	files map[string]bucket.Object

	forgotten int // the number of further objects that do not belong to a layout
}

// objectLayout is a layout whose files are objects.
type objectLayout struct {
	path  string
	index bucket.Object
	blobs []objectBlob
	odd   map[digest.Digest]bucket.Object // blobs of algorithms other than sha256, or with unusual ETags
}

// objectBlob is a blob whose ETag has the usual form. That is an MD5 sum in hexadecimal digits. If
// the object was uploaded in parts, a dash and the number of parts follow (Amazon S3 API reference,
// data type Object, "ETag").
type objectBlob struct {
	sum   [sha256.Size]byte
	size  int64
	etag  [16]byte
	parts int32 // 0 if the ETag has no dash
}

// layout returns the layout at a path. It returns nil if there is none.
func (t *objectTable) layout(p string) *objectLayout {
	i, ok := slices.BinarySearchFunc(t.layouts, p, func(l objectLayout, p string) int { return strings.Compare(l.path, p) })
	if !ok {
		return nil
	}
	return &t.layouts[i]
}

func (l *objectLayout) blob(d digest.Digest) (bucket.Object, bool) {
	if o, ok := l.odd[d]; ok {
		return o, true
	}
	sum, plain := names.SHA256Sum(d)
	if !plain {
		return bucket.Object{}, false
	}
	i, ok := slices.BinarySearchFunc(l.blobs, sum, func(b objectBlob, sum [sha256.Size]byte) int { return bytes.Compare(b.sum[:], sum[:]) })
	if !ok {
		return bucket.Object{}, false
	}
	return bucket.Object{Key: l.key(names.BlobPath(d)), Size: l.blobs[i].size, ETag: l.blobs[i].tag()}, true
}

func (l *objectLayout) key(name string) string {
	if l.path == "." {
		return name
	}
	return l.path + "/" + name
}

func (b *objectBlob) tag() string {
	if b.parts == 0 {
		return hex.EncodeToString(b.etag[:])
	}
	return hex.EncodeToString(b.etag[:]) + "-" + strconv.Itoa(int(b.parts))
}

// setTag stores an ETag. It returns false if the ETag does not have the usual form.
func (b *objectBlob) setTag(etag string) bool {
	sum, parts, dash := strings.Cut(etag, "-")
	if len(sum) != 2*len(b.etag) {
		return false
	}
	if _, err := hex.Decode(b.etag[:], []byte(sum)); err != nil {
		return false
	}
	if dash {
		n, err := strconv.ParseInt(parts, 10, 32)
		if err != nil {
			return false
		}
		b.parts = int32(n)
	}
	return b.tag() == etag
}

// tableReader builds a table while it lists a bucket.
type tableReader struct {
	reader  bucket.Reader
	only    string
	hash    hash.Hash
	table   *objectTable
	layouts map[string]*objectLayout
	last    *objectLayout // the layout of the last blob, because all blobs of a layout are listed together
	finder  finder
	nested  map[string]*skippedFiles // by directory
	illegal int
	// listable and others are the numbers of files in the table that an inventory may list, and of
	// other files.
	listable, others int
}

// maxFiles is the maximum number of objects in a table that do not belong to a layout: of those that an
// inventory may list, and of others.
const maxFiles = 100_000

// readTable lists the place and returns a new table.
func (o *Objects) readTable(ctx context.Context) (*objectTable, error) {
	r := o.reader
	t := &tableReader{reader: r, only: o.only, hash: sha256.New(), layouts: map[string]*objectLayout{}, nested: map[string]*skippedFiles{},
		table: &objectTable{files: map[string]bucket.Object{}}, finder: newFinder(r.Place())}
	if err := r.List(ctx, o.only, t.add); err != nil {
		return nil, err
	}
	for _, prefix := range o.beside {
		if err := r.List(ctx, prefix, t.addBeside); err != nil {
			return nil, err
		}
	}
	return t.finish(), ctx.Err()
}

func (t *tableReader) add(o bucket.Object) error {
	if archive, ok := IsArchive(o.Key); t.only != "" && (!ok || archive != t.only) {
		return nil // this key belongs to another archive, whose name begins with the same text
	}
	t.table.keys++
	fmt.Fprintf(t.hash, "%q %d %q %d\n", o.Key, o.Size, o.ETag, o.LastModified.Unix())
	if reason := illegalKey(o.Key); reason != "" {
		if !strings.HasSuffix(o.Key, "/") || o.Size > 0 { // web consoles create empty objects to represent directories
			t.reportIllegal(o.Key, reason)
		}
		return nil
	}
	if isHidden(o.Key) {
		t.remember(o)
		return nil
	}
	dir, name := path.Split(o.Key)
	if dir == "" {
		t.addTop(o)
	}
	layout, blob, ok := parseName(o.Key)
	if !ok {
		t.remember(o)
	}
	switch {
	case ok && blob == "":
		t.layout(layout).index = o
	case ok:
		t.layout(layout).add(blob, o)
	case dir != "":
		t.addNested(strings.TrimSuffix(dir, "/"), name)
	}
	return nil
}

// remember records an object that does not belong to a layout. A directory with very many objects does
// not displace archives, inventories and the oci-layout files of layouts: they would look missing.
func (t *tableReader) remember(o bucket.Object) {
	n := &t.others
	if dir, name := path.Split(o.Key); dir == "" || name == "oci-layout" {
		n = &t.listable
	}
	if *n == maxFiles {
		t.table.forgotten++
		return
	}
	*n++
	t.table.files[o.Key] = o
}

// addBeside adds an object that is listed beside the only archive to read.
func (t *tableReader) addBeside(o bucket.Object) error {
	if !strings.Contains(o.Key, "/") {
		t.remember(o)
		fmt.Fprintf(t.hash, "beside %q %d %q %d\n", o.Key, o.Size, o.ETag, o.LastModified.Unix())
	}
	return nil
}

// illegalKey returns why an object with this key is not read. It returns the empty string for a
// legal key. So if two keys are the same path in a file system, only one of them is read.
func illegalKey(key string) string {
	switch {
	case len(key) > maxPath:
		return fmt.Sprintf("a key longer than %d bytes", maxPath)
	case !utf8.ValidString(key):
		return "a key that is not UTF-8"
	}
	for element := range strings.SplitSeq(key, "/") {
		if element == "" || element == "." || element == ".." {
			return fmt.Sprintf("a key with the element %q", element)
		}
	}
	return ""
}

func (t *tableReader) reportIllegal(key, reason string) {
	t.illegal++
	if t.illegal > maxProblems {
		return
	}
	t.table.problems = append(t.table.problems, problem.Problem{Kind: problem.Limited, Reason: fmt.Sprintf("%.300q is not read: %s: copy the object to a legal key", key, reason)})
}

// addTop adds an object at the top of the place, which may be an archive.
func (t *tableReader) addTop(o bucket.Object) {
	class := ClassifyName(o.Key)
	why := class.skipReason(0)
	switch {
	case why != nil:
		t.finder.skipped.add(".", o.Key, class, why)
	case class.isArchive():
		stamp := stampOfObject(o)
		t.finder.addChunk(chunk{name: o.Key, file: extent.Extent{File: &object{reader: t.reader, Object: o}, Len: o.Size}, changed: o.LastModified, identity: stamp, written: stamp})
	}
}

// addNested reports an object below the top if it looks like an archive.
func (t *tableReader) addNested(dir, name string) {
	class := ClassifyName(name)
	if !class.looksLikeArchive() {
		return
	}
	files := t.nested[dir]
	if files == nil {
		if len(t.nested) >= maxProblems {
			return
		}
		files = &skippedFiles{}
		t.nested[dir] = files
	}
	files.add(dir, name, class, nestedReason(class))
}

func (t *tableReader) layout(p string) *objectLayout {
	if t.last == nil || t.last.path != p {
		l := t.layouts[p]
		if l == nil {
			l = &objectLayout{path: p}
			t.layouts[p] = l
		}
		t.last = l
	}
	return t.last
}

func (l *objectLayout) add(d digest.Digest, o bucket.Object) {
	b := objectBlob{size: o.Size}
	sum, plain := names.SHA256Sum(d)
	if plain && b.setTag(o.ETag) {
		b.sum = sum
		l.blobs = append(l.blobs, b)
		return
	}
	if l.odd == nil {
		l.odd = map[digest.Digest]bucket.Object{}
	}
	l.odd[d] = o
}

func (t *tableReader) finish() *objectTable {
	table := t.table
	table.sum = [sha256.Size]byte(t.hash.Sum(nil))
	table.found = t.finder.finish()
	for i := range table.found.Sets {
		s := &table.found.Sets[i]
		s.beside = &indexObject{reader: t.reader, Object: table.files[IndexKey(s.Name)]}
	}
	for p, l := range t.layouts {
		switch {
		case t.inBlobs(p):
		case l.index.Key == "":
			table.problems = append(table.problems, problem.Problem{Kind: problem.Incomplete, Path: p, Reason: "blobs of an OCI layout without its index.json"})
		default:
			l.blobs = slices.Clip(l.blobs)
			slices.SortFunc(l.blobs, func(a, b objectBlob) int { return bytes.Compare(a.sum[:], b.sum[:]) })
			table.layouts = append(table.layouts, *l)
		}
	}
	slices.SortFunc(table.layouts, func(a, b objectLayout) int { return strings.Compare(a.path, b.path) })
	for _, files := range t.nested {
		table.nested = append(table.nested, files.list()...)
	}
	slices.SortFunc(table.problems, problem.Compare)
	slices.SortFunc(table.nested, problem.Compare)
	if t.illegal > maxProblems {
		table.problems = append(table.problems, problem.Problem{Kind: problem.Limited, Reason: fmt.Sprintf("%d more objects are not read because of their keys", t.illegal-maxProblems)})
	}
	return table
}

// inBlobs reports whether path p is in the directory blobs of a layout. A layout at such a path is
// not served.
func (t *tableReader) inBlobs(p string) bool {
	for at := p; ; {
		i := strings.LastIndex("/"+at, "/blobs/")
		if i < 0 {
			return false
		}
		parent := strings.TrimSuffix(at[:i], "/")
		if parent == "" {
			parent = "."
		}
		if l := t.layouts[parent]; l != nil && l.index.Key != "" {
			return true
		}
		at = at[:i]
	}
}
