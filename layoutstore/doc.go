// Package layoutstore presents trees of OCI image layouts as repositories.
//
// Start with [Open], which scans the sources and returns a [Tree]; ask it for a
// [Snapshot], and the snapshot for a [Repository]. A snapshot never changes: its
// holder sees the tree as one scan found it, however often [Tree.Refresh]
// replaces it meanwhile.
//
// The path of a layout in its source is the name of its repository, below each
// of the roots. Layouts of one path in several sources are one repository; a
// later source wins a tag. Content that cannot be served is a [Problem], and
// the rest is served. All sizes and the digests of manifests are checked before
// content is returned; digests of blobs are not.
//
// A scan reads only the indexes. The manifests, which have the children of
// indexes, referrers and the sizes of blobs, are read at the first request that
// needs them, or ahead of it by [Snapshot.Check].
//
// The files follow the steps. scan*.go read the sources and parse their indexes;
// merge*.go unite what the scan found, elect roots, name repositories and report
// conflicts; snapshot.go, repository.go, manifests.go, blobs.go and referrers.go answer
// requests from the result. readtable.go reads the manifests into the table of table.go,
// and check.go looks for problems before a client meets them.
//
// The formats are those of the OCI image specification 1.1 (image-layout.md,
// image-index.md, manifest.md, descriptor.md) and of Docker's image manifest
// version 2, schema 2. The package knows neither HTTP nor a log nor the network.
package layoutstore
