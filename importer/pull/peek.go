package pull

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
	"github.com/layoutproxy/layoutproxy/registry/client"
)

const (
	// maxFile is the longest file that is read out of an image, in bytes.
	maxFile = 16 << 20
	// maxUnpacked is how long a layer may be that is looked into, in bytes, when it is
	// unpacked: a few bytes may unpack to any number.
	maxUnpacked = 64 << 30
	// maxNested is how deep the indexes may lie in each other that lead to an image.
	maxNested = 8
)

// peek reads files out of an image, by their paths: those that it has. Layers are
// looked at from the top down, as deep as it takes. A layer that cannot be read to its
// end is an error: what was not seen may be there.
func (s *source) peek(ctx context.Context, repository string, image closure.Descriptor, names ...string) (map[string][]byte, error) {
	key := strings.Join(append([]string{s.name(repository, image.Digest.String())}, names...), " ")
	return remember(&s.mu, s.files, key, func() (map[string][]byte, error) { return s.look(ctx, repository, image, names) })
}

func (s *source) look(ctx context.Context, repository string, image closure.Descriptor, names []string) (map[string][]byte, error) {
	refs, err := s.firstImage(ctx, repository, image)
	if err != nil {
		return nil, err
	}
	l := look{found: map[string][]byte{}, wanted: map[string]bool{}, limit: maxUnpacked}
	for _, name := range names {
		l.wanted[name] = true
	}
	if len(refs.Blobs) > 0 {
		refs.Blobs = refs.Blobs[1:] // behind the config
	}
	for _, layer := range slices.Backward(refs.Blobs) {
		if len(l.wanted) == 0 {
			break
		}
		if !strings.Contains(layer.MediaType, "tar") {
			continue // of an artifact
		}
		if err := s.peekLayer(ctx, repository, layer.Descriptor, &l); err != nil {
			return nil, fmt.Errorf("layer %s: %w", layer.Digest, err)
		}
	}
	return l.found, nil
}

// firstImage is what an image names, or the first one of an index: any platform will do.
func (s *source) firstImage(ctx context.Context, repository string, image closure.Descriptor) (refs closure.Refs, err error) {
	for range maxNested {
		body, err := s.body(ctx, repository, image.Digest)
		if err != nil {
			return refs, err
		}
		if refs, err = closure.Parse(body); err != nil {
			return refs, unusable{err}
		}
		if len(refs.Children) == 0 {
			return refs, nil
		}
		image = refs.Children[0]
	}
	return refs, unusable{fmt.Errorf("it is an index of indexes, more than %d deep", maxNested)}
}

// peekLayer looks through one layer. Wrong bytes are read again, past caches, before they
// count: nothing that is found in them does.
func (s *source) peekLayer(ctx context.Context, repository string, layer closure.Descriptor, l *look) error {
	if err := s.bring(ctx, repository, layer); err != nil {
		return err
	}
	return s.registry.Insist(ctx, isWrongContent, func(fresh bool) error {
		again := look{wanted: maps.Clone(l.wanted), found: maps.Clone(l.found), limit: l.limit}
		err := s.peekOnce(ctx, repository, layer, &again, fresh)
		if err == nil {
			*l = again
		}
		return err
	})
}

// proveUpTo is the size in bytes up to which a layer is read to its end, so that its digest
// is proven, when what was looked for is found before. Larger ones are read so far where
// nothing may be written: it is a plan that they are for.
const proveUpTo = 16 << 20

func (s *source) peekOnce(ctx context.Context, repository string, layer closure.Descriptor, l *look, fresh bool) error {
	r, err := s.read(ctx, repository, layer, fresh)
	if err != nil {
		return err
	}
	defer r.Close()
	failed := l.layer(r)
	var of *client.Error
	switch {
	case errors.As(failed, &of) || ctx.Err() != nil || isWrongContent(failed):
		return failed
	case failed == nil && len(l.wanted) == 0 && layer.Size > proveUpTo:
		return nil
	}
	// To the end, which says whether the bytes were right.
	if _, err := io.Copy(io.Discard, r); err != nil {
		return err
	}
	if failed != nil {
		return unusable{failed}
	}
	return nil
}

// bring fetches a layer whole, which will be needed whole, where anything may be written.
func (s *source) bring(ctx context.Context, repository string, layer closure.Descriptor) error {
	if s.work == nil {
		return nil
	}
	// What one repository lacks, another may have: only the layer itself is the same.
	key := s.name(repository, layer.Digest.String())
	_, err := remember(&s.mu, s.fetched, key, func() (struct{}, error) {
		turn := s.turn(layer.Digest)
		turn.Lock()
		defer turn.Unlock()
		if s.work.has(layer.Digest, layer.Size) {
			return struct{}{}, nil
		}
		if where, err := s.lies(ctx, repository, layer); where != nil || err != nil {
			return struct{}{}, err
		}
		f := &fetcher{s.registry, s.work, s.meter}
		return struct{}{}, f.fetch(ctx, layer, []string{repository})
	})
	return err
}

// look is a search for files in layers.
type look struct {
	wanted map[string]bool
	found  map[string][]byte
	limit  int64 // bytes of a layer, unpacked
}

// layer looks through one layer: a tar archive, packed by gzip or zstd or not.
func (l *look) layer(r io.Reader) error {
	b := bufio.NewReaderSize(r, 1<<16)
	unpacked, closer, err := unpack(b)
	if err != nil {
		return err
	}
	if closer != nil {
		defer closer()
	}
	gone := map[string]bool{} // what this layer hides of those below
	for t := tar.NewReader(&bounded{unpacked, l.limit, l.limit}); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if err := l.entry(t, h, gone); err != nil {
			return err
		}
		if len(l.wanted) == 0 {
			return nil
		}
	}
	for name := range l.wanted {
		for _, p := range hiders(name) {
			if gone[p] {
				delete(l.wanted, name)
			}
		}
	}
	return nil
}

// hide notes what a layer hides, if that is anything that is looked for: a layer may hide
// any number of things.
func (l *look) hide(hidden string, gone map[string]bool) {
	for name := range l.wanted {
		if slices.Contains(hiders(name), hidden) {
			gone[hidden] = true
		}
	}
}

// hiders are what a file goes with when a layer above takes it away: itself, a directory
// that it is in, or, with a slash, what such a directory holds.
func hiders(name string) (all []string) {
	for p := name; p != "."; p = path.Dir(p) {
		all = append(all, p, path.Dir(p)+"/")
	}
	return all
}

// bounded is a reader that fails after its limit.
type bounded struct {
	r           io.Reader
	left, limit int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, fmt.Errorf("it unpacks to more than %d bytes, as no image of a product does: is it the right tag?", b.limit)
	}
	n, err := b.r.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

func (l *look) entry(r io.Reader, h *tar.Header, gone map[string]bool) error {
	name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
	dir, base := path.Split(name)
	if base == ".wh..wh..opq" {
		if dir == "" {
			dir = "./"
		}
		l.hide(dir, gone)
		return nil
	}
	if hidden, ok := strings.CutPrefix(base, ".wh."); ok {
		l.hide(dir+hidden, gone)
		return nil
	}
	if !l.wanted[name] {
		return nil
	}
	if h.Typeflag != tar.TypeReg {
		return fmt.Errorf("%s is no regular file", name)
	}
	data, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if len(data) > maxFile {
		return fmt.Errorf("%s has more than %d bytes", name, maxFile)
	}
	l.found[name] = data
	delete(l.wanted, name)
	return nil
}

// unpack undoes the compression that the first bytes speak of.
func unpack(b *bufio.Reader) (io.Reader, func(), error) {
	magic, err := b.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, err
	}
	switch {
	case len(magic) >= 2 && magic[0] == 0x1f && magic[1] == 0x8b:
		z, err := gzip.NewReader(b)
		return z, nil, err
	case string(magic) == "\x28\xb5\x2f\xfd":
		z, err := zstd.NewReader(b, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(256<<20))
		if err != nil {
			return nil, nil, err
		}
		return z, z.Close, nil
	}
	return b, nil, nil
}
