// Package volume locates the files of OCI image layouts in a directory tree, in a tar archive, in
// the chunks of an archive, or in a bucket.
//
// A [Volume] lists its layouts ([Volume.Layouts]) and their blobs ([Volume.Blobs]), and locates the
// content of a blob ([Volume.Locate]). It does not interpret indexes and manifests. If it cannot
// read a file, it reports a [problem.Problem] and continues.
//
// [OpenDir] opens a tree, and [OpenObjects] a place in a bucket. [FindArchives] finds the archives and chunk
// sets in a directory. [OpenArchive] only reads the headers of an archive, or takes its index from a [Cache].
// If several entries have the same name, the last one counts. [Archive.Problem] explains why an archive is
// incomplete. The entries before the first missing header are still served, unless the scan refuses them.
//
// All implementations pass the tests in package volumetest. No volume opens a file outside of its
// source: it opens files through [os.Root], and refuses all links in archives except hard links to
// earlier files in the same archive.
//
// The files are arranged as in the OCI image layout specification 1.1 (image-layout.md): index.json and
// blobs/<alg>/<encoded>. Archives have the format ustar, PAX or GNU. They are not compressed, and end with
// two blocks of zeros (POSIX.1, pax, "ustar Interchange Format"). Chunks are named NAME.tar.NNNN.chunk,
// starting at 0000. Joined in the order of their numbers, they are the archive, whatever their sizes.
package volume

import (
	"context"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
)

// Volume is a directory, an archive or a place in a bucket that contains layouts. Several
// goroutines may call its methods at the same time.
type Volume interface {
	// Layouts scans for layouts. It fails only if ctx ends, or with an error for which IsExhausted
	// is true. A file that cannot be read is a problem in the listing.
	Layouts(ctx context.Context) (Listing, error)
	// Locate locates a blob in a layout. If the blob is missing, the error wraps fs.ErrNotExist. If it is
	// known which chunk to copy again, the error is a *problem.Error that names it and wraps fs.ErrNotExist.
	// If ctx ends, Locate returns the cause of ctx, which does not mean that the blob is missing.
	// Other errors come from the file system or the bucket.
	Locate(ctx context.Context, layout string, d digest.Digest) (extent.List, error)
	// Blobs lists the digests of the blobs in a layout, in byte order. It takes the digests from the names of
	// files, whatever the index says, and whatever the files contain. It omits files whose names are not
	// digests. A missing layout has no blobs. Blobs fails if ctx ends or the files cannot be listed.
	Blobs(ctx context.Context, layout string) ([]digest.Digest, error)
	// Where returns where a layout is, for use in a message. path is a path in the file system, or a place in
	// a bucket. entry is the path of the layout in that archive or bucket. It is empty if path includes it.
	Where(layout string) (path, entry string)
	// String returns the path of the volume as the user gave it.
	String() string
}

// Cached is a Volume that can locate a blob without waiting for a disk.
type Cached interface {
	Volume
	// LocateCached returns where a blob is stored if it exists and has size bytes. Only opening the
	// blob shows whether that is true. If LocateCached does not know where the blob is, it returns
	// nil. See [extent.List.OpenCachedAt].
	LocateCached(layout string, d digest.Digest, size int64) extent.List
}

// Listing is the result of one scan of a volume.
type Listing struct {
	// Layouts is sorted by path in byte order.
	Layouts []Layout
	// Problems contains the problems of the scan. Their paths are relative to the volume.
	Problems []problem.Problem
	// Nested contains the problems of files that look like archives but are below the top of a
	// tree, where archives are not read. They do not apply to a file that is also a source itself.
	Nested []problem.Problem
	// Dirs contains the directories to watch for changes of layouts. It does not contain
	// directories of blobs.
	Dirs []string
}

// Layout is one OCI image layout: a directory with an index.json.
type Layout struct {
	Path  string // relative to the volume, with slashes; "." is the volume itself
	Index extent.List
	Stamp Stamp
}

// Stamp identifies the state of a layout's index.json. It is equal for two scans if the file was
// not written between them. If it is not Settled, the file was written very recently, and a later
// write may leave the stamp equal.
type Stamp struct {
	ID      string
	Settled bool
}

// Same reports whether the file has not been written since the stamp old was taken.
func (s Stamp) Same(old Stamp) bool { return old.Settled && s.ID == old.ID }
