package pull

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
)

// placed is a blob of a tree.
type placed struct {
	*need
	places []string // files that have to be it
	lacks  []string // those of them that are not
	have   string   // a file that is
}

// blobPath is the path of a blob below its layout.
func blobPath(d digest.Digest) string {
	return path.Join(specs.ImageBlobsDir, d.Algorithm().String(), d.Encoded())
}

// placesOf are the blobs of layouts, each once, and where they have to be.
func (r *run) placesOf(layouts []*Layout) (all []*placed) {
	_, needs := needsOf([]*Archive{{Layouts: layouts}})
	byDigest := map[digest.Digest]*placed{}
	for _, n := range needs {
		p := &placed{need: n}
		byDigest[n.Digest] = p
		all = append(all, p)
	}
	for _, l := range layouts {
		for _, b := range l.blobs {
			p := byDigest[b.Digest]
			p.places = append(p.places, filepath.Join(r.Dir, filepath.FromSlash(path.Join(l.Path, blobPath(b.Digest)))))
		}
	}
	return all
}

// placeBlobs fetches what the layouts lack. A blob gets its name when its bytes are on
// disk, for an index may name it already.
func (r *run) placeBlobs(ctx context.Context, layouts []*Layout) error {
	for _, l := range layouts { // those without blobs too
		if err := os.MkdirAll(filepath.Join(r.Dir, filepath.FromSlash(l.Path), specs.ImageBlobsDir), 0o755); err != nil {
			return err
		}
	}
	blobs := r.placesOf(layouts)
	var total int64
	for _, b := range blobs {
		total += b.Size
	}
	r.watch.Phase("fetching", total)
	c := &carrier{run: r, fetcher: fetcher{r.Registry, r.work, r.watch}}
	group, hard := errgroup.WithContext(ctx)
	group.SetLimit(r.Jobs)
	for _, b := range blobs {
		group.Go(func() error {
			if err := hard.Err(); err != nil {
				return err
			}
			return c.gapOr(b.need, c.bringPlaced(ctx, hard, b))
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if err := incomplete(c.gaps); err != nil {
		return err
	}
	r.work.reached("fetched all")
	if err := syncTree(r.Dir); err != nil {
		return err
	}
	return r.place(ctx, blobs)
}

// bringPlaced makes a blob be there: in one of its places, or in the working directory.
func (c *carrier) bringPlaced(ctx, hard context.Context, b *placed) error {
	if err := b.look(ctx); err != nil {
		return err
	}
	if b.have != "" {
		c.watch.Add(b.Size)
		return nil
	}
	if err := c.find(ctx, hard, b.need); err != nil {
		return err
	}
	if b.where != nil { // in an archive that lies there
		if good, err := c.fetcher.copy(ctx, b.where, b.Descriptor); err != nil || !good {
			return errors.Join(err, fmt.Errorf("%s: it changed while it was read", b.where))
		}
	}
	b.have = c.work.blob(b.Digest)
	return nil
}

// look finds out in which of its places a blob is. Each file is read once, whatever
// links it has.
func (b *placed) look(ctx context.Context) error {
	type seen struct {
		os.FileInfo
		good bool
	}
	var files []seen
next:
	for _, name := range b.places {
		info, err := os.Stat(name)
		if err != nil || info.Size() != b.Size || !info.Mode().IsRegular() {
			b.lacks = append(b.lacks, name)
			continue
		}
		for _, f := range files {
			if os.SameFile(f, info) {
				b.count(name, f.good)
				continue next
			}
		}
		good, err := proveFile(ctx, name, b.Digest)
		if err != nil {
			return err
		}
		files = append(files, seen{info, good})
		b.count(name, good)
	}
	return nil
}

func (b *placed) count(name string, good bool) {
	if good {
		b.have = name
	} else {
		b.lacks = append(b.lacks, name)
	}
}

// place puts blobs that are there where they are lacking: as links of one file, if the
// file system has them.
func (r *run) place(ctx context.Context, blobs []*placed) error {
	for _, b := range blobs {
		if err := ctx.Err(); err != nil {
			return err
		}
		for _, name := range b.lacks {
			if err := place(ctx, b.have, name); err != nil {
				return err
			}
			b.have = name // the others are links of it, where the working directory is elsewhere too
		}
		r.work.reached("placed blob")
		r.work.drop(b.Digest)
	}
	return nil
}

// place makes to the same file as from, or a copy of it where there are no links. What
// has the name is replaced in one step.
func place(ctx context.Context, from, to string) error {
	dir := filepath.Dir(to)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if os.Link(from, to) == nil {
		return nil
	}
	// The name is taken, or there are no links.
	link := filepath.Join(dir, ".link-"+filepath.Base(to))
	if err := os.Remove(link); err != nil && !errors.Is(err, fs.ErrNotExist) { // of a crash
		return err
	}
	if os.Link(from, link) == nil {
		return os.Rename(link, to)
	}
	return copyTo(ctx, from, to)
}

func copyTo(ctx context.Context, from, to string) error {
	in, err := plainfile.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	temp, err := os.CreateTemp(filepath.Dir(to), ".blob-*")
	if err != nil {
		return err
	}
	for {
		n, err := io.CopyN(temp, in, maxCopied) // the system may copy it by itself
		if err = errors.Join(ctx.Err(), ignoreEnd(err)); err != nil {
			return joinClose(err, temp)
		}
		if n < maxCopied {
			break
		}
	}
	return publishFile(temp, to)
}

// ignoreEnd is err, if it is not that of the end of a file.
func ignoreEnd(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
