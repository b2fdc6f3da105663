package deckhouse

import (
	"bytes"
	"context"

	"github.com/layoutproxy/layoutproxy/importer/pull"
	"github.com/layoutproxy/layoutproxy/importer/release"
)

// releasesName is the file beside the archives from which a cluster creates its releases.
const releasesName = "deckhousereleases.yaml"

// planReleasesFile plans the file of releases. The file has a document for each version that has a
// release-channel image, in the order of the versions. Without any document, an older file is removed.
func (pl *platform) planReleasesFile(ctx context.Context) error {
	draft, tags := pl.planner.draft, pl.builds.tags
	documents, notes := make([][]byte, len(tags)), make([]string, len(tags))
	err := draft.Each(ctx, len(tags), func(ctx context.Context, i int) (err error) {
		documents[i], notes[i], err = pl.releaseDocument(ctx, tags[i])
		return draft.Absorb(err, part(build), pull.Unit{Component: pl.shown.Name, Version: tags[i]})
	})
	for i, note := range notes {
		if note != "" {
			pl.shown.Note("%s: %s: %s", releasesName, tags[i], note)
		}
	}
	if err != nil {
		return err
	}
	if data := bytes.Join(documents, nil); len(data) > 0 {
		draft.File(releasesName, data)
	} else {
		draft.RemoveFile(releasesName)
	}
	return nil
}

// releaseDocument returns the document of one version, and a note about data that is missing in it.
// The document is nil if it cannot be made.
func (pl *platform) releaseDocument(ctx context.Context, tag string) (document []byte, note string, err error) {
	r, ok := release.Parse(tag)
	if !ok {
		return nil, "", nil
	}
	image, ok := pl.planner.draft.ImageOf(pl.channels, tag)
	if !ok {
		return nil, "", nil // the missing image is reported as another problem
	}
	files, err := pl.planner.source.Files(ctx, pl.channels.Repository, image, release.VersionFile, release.ChangelogFile)
	if err != nil {
		return nil, "", pull.ImageError(pl.channels.Repository, tag, err)
	}
	document, note = release.Document(r, files[release.VersionFile], files[release.ChangelogFile])
	return document, note, nil
}
