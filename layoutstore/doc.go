// Package layoutstore presents trees of OCI image layouts as repositories.
//
// Start with [Open], which scans the sources and returns a [Tree]. Get a [Snapshot] from the tree,
// and a [Repository] from the snapshot. A snapshot never changes: [Tree.Refresh] replaces the
// current snapshot with a new one.
//
// The name of a repository is a root, followed by the path of its layout in the source. With
// several roots, a repository has several names. Layouts with the same path in several sources are
// one repository. If two of them have the same tag, the later source wins. Content that cannot be
// served is a [Problem], and everything else is served. All sizes and the digests of manifests are
// checked before content is returned; digests of blobs are not.
//
// Of a layout, a first scan reads only the index.json and, in a store in a bucket, the list of blobs. The
// children of image indexes, the referrers and the sizes of blobs are in the manifests. layoutstore reads all
// manifests of a repository at the first request that needs such data, or earlier in [Snapshot.Check].
//
// The files follow the steps. scan*.go read the sources and parse their indexes;
// merge*.go merge the layouts, elect roots, name repositories and report conflicts;
// snapshot.go, repository.go, manifests.go, blobs.go and referrers.go answer requests
// from the result. readtable.go reads the manifests into the table of table.go, and
// check.go finds problems before a client does.
//
// The formats are those of the OCI image specification 1.1 (image-layout.md, image-index.md,
// manifest.md, descriptor.md) and of Docker's image manifest version 2, schema 2. The package
// itself does not use HTTP, the network or a log.
package layoutstore
