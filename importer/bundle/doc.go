// Package bundle writes the files of a bundle: archives, chunks of them or a tree, and the
// checksums beside them.
//
// Start with [NewArchive], which plans an archive of layouts: its size is known before a
// blob is there. [Archive.Write] writes it to the files of a [Form]. The bytes depend on the
// layouts alone, and are those that the field's own tool writes of the same content.
//
// What is there already is used again: [Archive.In] compares an archive with what a directory
// has of it, and [OpenReusable] finds blobs in archives and trees of before.
//
// New files replace old ones together. They are staged beside the bundle, and a [Publisher]
// moves them into their place by a journal (volume.Publication): whenever it dies, a reader
// sees all of the old files or all of the new ones.
package bundle
