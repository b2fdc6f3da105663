package pull

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/layoutproxy/layoutproxy/importer/bundle"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/durable"
)

// writeTree writes the layouts of the plan as directories of the bundle. It moves blobs into place
// first. Once all blobs are complete, it publishes the indexes.
func (r *run) writeTree(ctx context.Context) error {
	layouts := bundle.MergeLayouts(r.plan.Archives)
	if err := r.placeBlobs(ctx, layouts); err != nil {
		return err
	}
	// Sync all blobs at once, before the first index refers to one of them.
	if err := durable.SyncTree(r.options.Dir); err != nil {
		return err
	}
	publisher := r.work.publisher
	if err := publisher.KeepStaged(nil); err != nil { // files that another pull has staged are not needed
		return err
	}
	for _, l := range layouts {
		if err := r.stageIndex(l); err != nil {
			return err
		}
		r.written = append(r.written, l.Path)
		r.work.reached("staged")
	}
	if err := r.stageFiles(ctx); err != nil {
		return err
	}
	if err := publisher.Publish(r.changes); err != nil {
		return err
	}
	return r.compare(ctx, []string{r.options.Dir})
}

func (r *run) stageIndex(l *bundle.Layout) error {
	index, err := l.IndexJSON()
	if err != nil {
		return err
	}
	if len(index) > layoutstore.MaxIndex {
		return fmt.Errorf("the index of %s would have %d bytes, more than the limit of %d: pull fewer of its tags", l.Repository, len(index), int64(layoutstore.MaxIndex))
	}
	name, staged, err := r.work.publisher.StageIndex(l.Path, index)
	if staged {
		r.changes.Place = append(r.changes.Place, name)
	}
	return err
}

// placeBlobs fetches the missing blobs of layouts. It moves a blob into place only after its
// content is on disk, because an index may already refer to the blob.
func (r *run) placeBlobs(ctx context.Context, layouts []*bundle.Layout) error {
	blobs, err := bundle.MakeTree(r.options.Dir, layouts)
	if err != nil {
		return err
	}
	_, needs := needsOf([]*bundle.Archive{{Layouts: layouts}})
	var total int64
	for _, n := range needs {
		total += n.blob.Size
	}
	r.watch.Phase("fetching", total)
	supply := r.newSupply()
	group, hard := errgroup.WithContext(ctx)
	group.SetLimit(r.options.Jobs)
	for _, n := range needs {
		group.Go(func() error { return supply.provideFile(ctx, hard, n, blobs[n.blob.Digest]) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if err := Incomplete(supply.problems); err != nil {
		return err
	}
	r.work.reached("fetched all")
	if err := durable.SyncTree(r.options.Dir); err != nil {
		return err
	}
	for _, n := range needs {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := blobs[n.blob.Digest].Place(ctx); err != nil {
			return err
		}
		r.work.reached("placed blob")
		r.work.remove(n.blob.Digest)
	}
	return nil
}

// provideFile makes a blob available as a file of a layout or of the working directory.
func (s *supply) provideFile(ctx, hard context.Context, n *need, b *bundle.TreeBlob) error {
	if err := hard.Err(); err != nil {
		return err
	}
	found, err := b.Find(ctx)
	if err != nil {
		return err
	}
	if found {
		s.fetcher.meter.Add(n.blob.Size)
		return nil
	}
	ok, err := s.provide(ctx, hard, n)
	if err != nil || !ok {
		return err
	}
	if n.where != nil { // the blob is in an existing archive or tree
		if good, err := s.fetcher.copyBlob(ctx, n.where, n.blob); err != nil || !good {
			return errors.Join(err, fmt.Errorf("%s changed while it was read", n.where))
		}
	}
	b.Use(s.fetcher.work.blob(n.blob.Digest))
	return nil
}
