// Package volume locates the files of OCI image layouts: in a directory tree, in a tar archive,
// in the chunks of one, or in a bucket.
//
// A [Volume] lists its layouts ([Volume.Layouts]) and their blobs ([Volume.Blobs]), and locates
// the bytes of a blob ([Volume.Locate]). It does not interpret indexes and manifests. A file that
// it cannot read is a [problem.Problem], and does not stop it.
//
// [OpenDir] opens a tree, [OpenObjects] a place in a bucket. [FindArchives] finds the archives
// and chunk sets in a directory. [OpenArchive] reads only the headers of an archive, or takes its
// index from a [Cache], where an earlier process wrote it. If entries have the same name, the
// last one counts. [Archive.Problem] says why an archive is incomplete; its entries up to the
// break in the chain of headers are served all the same.
//
// Every implementation passes the suite in package volumetest. No volume opens a file outside of its
// source: files are opened through [os.Root], and links in archives are refused.
//
// The layout of files is that of the OCI image layout specification 1.1
// (image-layout.md): index.json, and blobs/<alg>/<encoded>. Archives are ustar, PAX
// or GNU, uncompressed, and end in two blocks of zeros (POSIX.1, pax, "ustar
// Interchange Format"); chunks are NAME.tar.NNNN.chunk, from 0000 on. Joined in the
// order of their numbers they are the archive, whatever their sizes.
package volume

import (
	"context"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
)

// Volume is a directory, an archive or a place in a bucket with layouts. Its methods may be called
// from several goroutines at once.
type Volume interface {
	// Layouts scans for layouts. The error is the context's, or one for which IsExhausted
	// is true; files that cannot be read are among the problems of the listing.
	Layouts(ctx context.Context) (Listing, error)
	// Locate locates the blob d of a layout. Errors: the cause of ctx; fs.ErrNotExist, wrapped in a
	// *problem.Error if it is known which chunk to copy again; the file system's. No error says
	// anything about the blob once ctx has ended: a volume may have to ask another machine.
	Locate(ctx context.Context, layout string, d digest.Digest) (extent.List, error)
	// Blobs lists the digests in the names of the blob files of a layout, in byte order, whatever
	// its index says and the files contain. It leaves out files with other names. A missing layout
	// has no blobs. Errors: the context's; the file system's.
	Blobs(ctx context.Context, layout string) ([]digest.Digest, error)
	// Where returns the place of a layout for a message: a path in the file system, and if
	// that is an archive, the entry in it.
	Where(layout string) (path, entry string)
	// String is the path of the volume as the user gave it.
	String() string
}

// Cached is a Volume that can locate a blob without waiting for a disk.
type Cached interface {
	Volume
	// LocateCached returns where the blob d of a layout is, if it exists and has size bytes, which
	// only opening it shows. It returns nil if the place is unknown. See
	// [extent.List.OpenCachedAt].
	LocateCached(layout string, d digest.Digest, size int64) extent.List
}

// Listing is the result of one scan of a volume.
type Listing struct {
	Layouts  []Layout          // by byte order of their paths
	Problems []problem.Problem // their paths are below the volume
	// Nested are the problems of files below the top of a tree that look like archives, which
	// are not read there. They do not apply to a file that is a source of its own.
	Nested []problem.Problem
	// Dirs are the directories to watch for changes of layouts: all but those of blobs.
	Dirs []string
}

// Layout is one OCI image layout: a directory with an index.json.
type Layout struct {
	Path  string // slash-separated, below the volume; "." is the volume itself
	Index extent.List
	Stamp Stamp
}

// Stamp is equal for two scans of a layout if its index.json was not written between them. If it
// is not Settled, the file was written so recently that a later write may leave the stamp equal.
type Stamp struct {
	ID      string
	Settled bool
}

// Same reports whether nothing was written since stamp old was taken.
func (s Stamp) Same(old Stamp) bool { return old.Settled && s.ID == old.ID }
