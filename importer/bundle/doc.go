// Package bundle writes the files of a bundle: archives, chunks or a tree, and checksum files.
//
// Start with [NewArchive], which plans an archive of layouts. Its size is known before any blob is
// fetched. [Archive.Write] writes the archive to one file or to chunks, as a [Form] says. The bytes
// depend only on the layouts. d8 mirror writes the same bytes for the same content.
//
// Existing content is reused: [Present.IsSame] compares an archive with the files in a directory,
// and [OpenReusable] finds blobs in existing archives and trees.
//
// A [Publisher] replaces old files with new ones. It stages the new files beside the bundle, and
// moves them into place with a journal (volume.Publication). If it crashes at any point, a reader
// sees either all old files or all new ones.
package bundle
