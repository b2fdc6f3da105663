package volume

import (
	"context"
	"io"
	"maps"
	"os"
	"strings"
	"sync"

	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
)

// documents contains the index.json files in an archive in a bucket. The cached index of the archive contains
// them, too, so that a scan of a known archive sends no request. A document is in memory from the loading of
// the index until it is first read. While the index is being saved, all documents are in memory.
type documents struct {
	mu    sync.Mutex
	texts map[string]string // the content of each index.json, by the path of its layout in the archive
}

// maxDocuments is the maximum size in bytes of all documents of an archive. Further documents are
// requested from the bucket at each start.
const maxDocuments = 64 << 20

// all returns a copy of the map, because take may change the map at any time. The copy is never nil.
func (d *documents) all() map[string]string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.texts == nil {
		return map[string]string{}
	}
	return maps.Clone(d.texts)
}

// take returns the document of a layout, and removes it from memory.
func (d *documents) take(layout string) (string, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	text, ok := d.texts[layout]
	delete(d.texts, layout)
	return text, ok
}

func (d *documents) set(texts map[string]string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.texts = texts
}

// ReadDocuments reads the index.json of each layout in an archive in a bucket, if
// [Archive.SaveIndex] needs these documents. If write is set, it also reads them if
// [Archive.WriteIndex] needs them. It omits documents that cannot be read.
func (a *Archive) ReadDocuments(ctx context.Context, write bool) {
	isSaved := a.cachedIndex || a.saved.Load()
	if a.set.beside == nil || !a.index.isComplete(a.set) || isSaved && !(write && a.needsIndexBeside()) {
		return
	}
	texts := map[string]string{}
	var size int64
	for _, l := range a.index.layouts {
		if size += l.index.size; size > maxDocuments || !l.index.exists() {
			continue
		}
		where, err := a.sliceBase(l.index.off, l.index.size)
		if err != nil {
			continue
		}
		if data, err := where.ReadAll(ctx); err == nil {
			texts[l.path] = string(data)
		}
	}
	a.documents.set(texts)
}

// DropDocuments frees the memory of the documents that ReadDocuments has read.
func (a *Archive) DropDocuments() {
	if a.set.beside != nil {
		a.documents.set(nil)
	}
}

// documentExtent returns the extent of an index.json. The first read takes the content from memory.
func (a *Archive) documentExtent(layout string, where extent.List) extent.List {
	return extent.List{{File: &document{archive: a, layout: layout, where: where}, Len: where.Size()}}
}

// document is an index.json in an archive in a bucket.
type document struct {
	archive *Archive
	layout  string
	where   extent.List
}

func (d *document) Open(ctx context.Context) (*os.File, error) { return d.where[0].File.Open(ctx) }

func (d *document) String() string { return d.where.String() }

func (d *document) OpenRange(ctx context.Context, off, n int64) (io.ReadCloser, error) {
	if off == 0 && n == d.where.Size() {
		if text, ok := d.archive.documents.take(d.layout); ok && int64(len(text)) == n {
			return io.NopCloser(strings.NewReader(text)), nil
		}
	}
	part, err := d.where.Slice(off, n)
	if err != nil {
		return nil, err
	}
	return part.OpenOnce(ctx)
}
