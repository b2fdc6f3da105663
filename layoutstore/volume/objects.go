package volume

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"sync/atomic"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
)

// ErrNoObject means that a place in a bucket is empty. It wraps fs.ErrNotExist.
var ErrNoObject = fmt.Errorf("no object has a key that begins with this prefix: %w", fs.ErrNotExist)

// Objects is a place in a bucket. It contains layouts whose files are objects, and archives. It
// takes keys, sizes and ETags from a list of the bucket, so locating a blob sends no request.
type Objects struct {
	reader bucket.Reader
	// only is the name of the only archive to read. Empty means everything.
	only string
	// beside contains the prefixes of further keys to list.
	beside []string
	table  atomic.Pointer[objectTable]
}

// OpenObjects returns the objects in a place, without sending a request. If archive is not empty, it
// returns only the objects of this archive, and those whose keys begin with one of the prefixes in beside.
func OpenObjects(r bucket.Reader, archive string, beside ...string) *Objects {
	return &Objects{reader: r, only: archive, beside: beside}
}

// List lists the bucket. [Objects.Layouts] and the returned archives use this list. changed is
// false if the objects are the same as in the last list. List fails with [ErrNoObject] if the place
// is empty. It also fails if ctx ends or a request to the bucket fails.
func (o *Objects) List(ctx context.Context) (found Found, changed bool, err error) {
	old := o.table.Load()
	next, err := o.readTable(ctx)
	if err != nil {
		return Found{}, false, err
	}
	if next.keys == 0 {
		return Found{}, false, fmt.Errorf("%s: %w", o, ErrNoObject)
	}
	if old != nil && old.sum == next.sum {
		return old.found, false, nil
	}
	o.table.Store(next)
	return next.found, true, nil
}

// listed returns the table of the last list. If there is none yet, it lists the bucket first.
func (o *Objects) listed(ctx context.Context) (*objectTable, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if t := o.table.Load(); t != nil {
		return t, nil
	}
	next, err := o.readTable(ctx)
	if err != nil {
		return nil, err
	}
	o.table.CompareAndSwap(nil, next)
	return o.table.Load(), nil
}

// String implements [Volume].
func (o *Objects) String() string { return JoinPath(o.reader.Place(), o.only) }

// Where implements [Volume].
func (o *Objects) Where(layout string) (path, entry string) {
	return JoinPath(o.reader.Place(), layout), ""
}

// Layouts implements [Volume]. It returns the layouts in the last list.
func (o *Objects) Layouts(ctx context.Context) (Listing, error) {
	t, err := o.listed(ctx)
	if err != nil {
		return Listing{}, err
	}
	listing := Listing{Problems: t.problems, Nested: t.nested}
	for i := range t.layouts {
		l := &t.layouts[i]
		listing.Layouts = append(listing.Layouts, Layout{
			Path: l.path, Index: ObjectExtent(o.reader, l.index), Stamp: Stamp{ID: stampOfObject(l.index), Settled: true},
		})
	}
	return listing, nil
}

// Locate implements [Volume]. It sends no request, except for the first list.
func (o *Objects) Locate(ctx context.Context, layout string, d digest.Digest) (extent.List, error) {
	t, err := o.listed(ctx)
	if err != nil {
		return nil, err
	}
	if l := t.layout(layout); l != nil && d.Validate() == nil {
		if blob, ok := l.blob(d); ok {
			return ObjectExtent(o.reader, blob), nil
		}
	}
	return nil, fmt.Errorf("%s in %s: %w", d, o, fs.ErrNotExist)
}

// Blobs implements [Volume].
func (o *Objects) Blobs(ctx context.Context, layout string) ([]digest.Digest, error) {
	t, err := o.listed(ctx)
	if err != nil {
		return nil, err
	}
	l := t.layout(layout)
	if l == nil {
		return nil, nil
	}
	return digestsOf(l.blobs, func(b objectBlob) [sha256.Size]byte { return b.sum }, l.odd), nil
}

// ReadObject reads an object that does not belong to a layout, such as an inventory. data is nil if
// the object does not exist. If the object is longer than limit bytes, the error wraps
// extent.ErrTooLong. ReadObject also fails if ctx ends or a request to the bucket fails.
func (o *Objects) ReadObject(ctx context.Context, key string, limit int64) (data []byte, err error) {
	t, err := o.listed(ctx)
	if err != nil {
		return nil, err
	}
	found, ok := t.files[key]
	switch {
	case !ok:
		return nil, nil
	case found.Size > limit:
		return nil, fmt.Errorf("%s: more than %d bytes: %w", JoinPath(o.reader.Place(), key), limit, extent.ErrTooLong)
	}
	return ObjectExtent(o.reader, found).ReadAll(ctx)
}

// Files returns the objects in the last list that do not belong to a layout, by key. The map never changes.
func (o *Objects) Files() map[string]bucket.Object { return o.lastTable().files }

// lastTable returns the table of the last list. The table is empty if there is no list yet.
func (o *Objects) lastTable() *objectTable {
	if t := o.table.Load(); t != nil {
		return t
	}
	return &objectTable{}
}

// File returns the object with the given key in the last list, even if it belongs to a layout. It
// returns nil if the list does not contain the key.
func (o *Objects) File(key string) extent.List {
	t := o.lastTable()
	found, ok := t.files[key]
	if at, blob, isPart := parseName(key); !ok && isPart {
		switch l := t.layout(at); {
		case l == nil:
		case blob == "":
			found, ok = l.index, true
		default:
			found, ok = l.blob(blob)
		}
	}
	if !ok {
		return nil
	}
	return ObjectExtent(o.reader, found)
}

// Forgotten returns how many objects [Objects.Files] and [Objects.File] omit, because too many do
// not belong to a layout.
func (o *Objects) Forgotten() int { return o.lastTable().forgotten }
