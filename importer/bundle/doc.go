// Package bundle writes the files of a bundle: archives, their chunks or a tree, and checksum
// files.
//
// Start with [NewArchive], which plans an archive of layouts: its size is known before any blob
// is fetched. [Archive.Write] writes it to the files of a [Form]. The bytes depend only on the
// layouts, and are the same as d8 mirror writes for this content.
//
// Existing content is reused: [Archive.In] compares an archive with the files in a directory,
// and [OpenReusable] finds blobs in existing archives and trees.
//
// New files replace old ones together. They are staged beside the bundle, and a [Publisher]
// moves them into place with a journal (volume.Publication). If it crashes at any point, a
// reader sees either all old files or all new ones.
package bundle
