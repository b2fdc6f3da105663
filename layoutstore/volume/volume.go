// Package volume says where the files of OCI image layouts live: in a directory
// tree, in a tar archive, or in the chunks that one was cut into.
//
// A [Volume] lists the layouts it holds ([Volume.Layouts]) and the blobs in them
// ([Volume.Blobs]), and says where the bytes of a blob lie ([Volume.Locate]). It
// knows paths and bytes, and nothing of what an index or a manifest says. What it
// cannot read is a [problem.Problem], never a reason to stop.
//
// [OpenDir] opens a tree. [FindArchives] finds the archives and chunk sets in a
// directory, and [OpenArchive] reads the headers of one, and nothing else of it, or
// takes what an earlier process kept of them in a [Cache]. The last entry of a name
// counts. [Archive.Problem] says why an archive is not whole; what of it is, up to
// where its headers can be followed, is there all the same.
//
// Every implementation passes the suite in package volumetest. No volume opens
// a file outside of its source: files are opened through [os.Root], and links in
// archives are refused.
//
// The layout of files is that of the OCI image layout specification 1.1
// (image-layout.md): index.json, and blobs/<alg>/<encoded>. Archives are ustar, PAX
// or GNU, uncompressed, and end in two blocks of zeros (POSIX.1, pax, "ustar
// Interchange Format"); chunks are NAME.tar.NNNN.chunk, from 0000 on. Joined in the
// order of their indexes they are the archive, whatever their sizes.
package volume

import (
	"context"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
)

// Volume is a place that holds layouts. Its methods may be called at the same
// time from several goroutines.
type Volume interface {
	// Layouts looks for layouts now. The error is the context's, or one that
	// Exhausted knows; what could not be read is among the problems of the listing.
	Layouts(ctx context.Context) (Listing, error)
	// Locate says where the blob d of a layout lies. Errors wrap
	// fs.ErrNotExist where there is none, as *problem.Error where it is known which
	// chunk to copy again; others are the file system's.
	Locate(layout string, d digest.Digest) (extent.List, error)
	// Blobs are the digests by which blobs lie in a layout, whatever its index says
	// and whatever their bytes are, by byte order. Files that no digest names are not
	// among them; a layout that is not there has none. Errors: the context's; the
	// file system's.
	Blobs(ctx context.Context, layout string) ([]digest.Digest, error)
	// Where says where a person would look for a layout: a path in the file
	// system, and in an archive the entry.
	Where(layout string) (path, entry string)
	// String is the path of the volume as the user gave it.
	String() string
}

// Cached is a Volume that says where a blob lies without asking a disk.
type Cached interface {
	Volume
	// LocateCached is where the blob d of a layout lies if it is there and size bytes long,
	// which opening it tells; nil where it is not known. See [extent.List.OpenCachedAt].
	LocateCached(layout string, d digest.Digest, size int64) extent.List
}

// Listing is what one look into a volume found.
type Listing struct {
	Layouts  []Layout          // by byte order of their paths
	Problems []problem.Problem // their paths are below the volume
	// Nested are the problems of files below the top of a tree that look like archives: none is
	// read there. Whoever reads one as a source of its own has no such problem.
	Nested []problem.Problem
	// Dirs are paths in the file system of the directories in which a change may
	// be one of the layouts: all but those of blobs.
	Dirs []string
}

// Layout is one OCI image layout: a directory with an index.json.
type Layout struct {
	Path  string // slash-separated, below the volume; "." is the volume itself
	Index extent.List
	Stamp Stamp
}

// Stamp is equal for two looks at a layout if its index.json was not written
// between them. A stamp that is not Settled is too young to tell.
type Stamp struct {
	ID      string
	Settled bool
}

// Same says whether nothing was written since stamp old was taken.
func (s Stamp) Same(old Stamp) bool { return old.Settled && s.ID == old.ID }
