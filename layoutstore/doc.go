// Package layoutstore sees trees of OCI image layouts as repositories.
//
// Start with [Open], which scans the sources and returns a [Tree]; ask it for a
// [Snapshot], and the snapshot for a [Repository]. A snapshot never changes: who
// holds one sees the tree as one scan found it, however often [Tree.Refresh]
// replaces it meanwhile.
//
// The path of a layout in its source is the name of its repository, below each
// of the roots. Layouts of one path in several sources are one repository; a
// later source wins a tag. What cannot be served is a [Problem], and the rest is
// served. Sizes of everything and digests of manifests are checked before
// anything is handed out; digests of blobs are not.
//
// Reading the indexes is all that a scan does. What only manifests tell, which
// are the children of indexes, referrers and the sizes of blobs, is read on the
// first need of it, or ahead of it by [Snapshot.Check].
//
// The files tell the steps apart. scan*.go read the sources and parse their indexes;
// merge*.go unite what the scan found, elect roots, name repositories and report
// conflicts; snapshot.go, repository.go, manifests.go, blobs.go and referrers.go answer
// requests from the result. table.go and reading.go read what only manifests tell, and
// check.go looks for problems before a client does.
//
// The formats are those of the OCI image specification 1.1 (image-layout.md,
// image-index.md, manifest.md, descriptor.md) and of Docker's image manifest
// version 2, schema 2. The package knows neither HTTP nor a log nor the network.
package layoutstore
