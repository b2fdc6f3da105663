package pull

import (
	"context"
	"io"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/importer/bundle"
	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
	"github.com/layoutproxy/layoutproxy/layoutstore/imagefile"
)

// Files returns the content of the named files in an image, by path. It omits missing files.
func (s *Source) Files(ctx context.Context, repository string, image closure.Descriptor, names ...string) (map[string][]byte, error) {
	key := strings.Join(append([]string{s.Name(repository, image.Digest.String())}, names...), " ")
	return remember(&s.mu, &s.files, key, func() (map[string][]byte, error) {
		layers, err := s.layersOf(ctx, repository, image)
		if err != nil {
			return nil, err
		}
		return s.readFiles(ctx, repository, layers, names)
	})
}

// readFiles reads files out of layers. If the content of a layer is wrong, readFiles reads it again
// and bypasses caches before it gives up. For layers that fetchLayer fetches, fetchLayer does this
// instead.
func (s *Source) readFiles(ctx context.Context, repository string, layers []imagefile.Layer, names []string) (files map[string][]byte, err error) {
	var notFetched error
	isWrong := func(err error) bool { return notFetched == nil && bundle.IsDigestError(err) }
	err = s.registry.RetryMismatch(ctx, isWrong, func(fresh bool) (err error) {
		files, err = imagefile.Read(ctx, layers, func(ctx context.Context, l imagefile.Layer) (io.ReadCloser, error) {
			layer := closure.Descriptor{MediaType: l.MediaType, Digest: l.Digest, Size: l.Size}
			if notFetched = s.fetchLayer(ctx, repository, layer); notFetched != nil {
				return nil, notFetched
			}
			return s.read(ctx, repository, layer, fresh)
		}, names...)
		return err
	})
	return files, err
}

// layersOf returns the layers of an image. For an index, it returns the layers of the first image,
// because the files that are read are the same for all platforms.
func (s *Source) layersOf(ctx context.Context, repository string, image closure.Descriptor) (layers []imagefile.Layer, err error) {
	var unread error
	found, err := closure.Layers(image.Digest, func(d digest.Digest) (body []byte, err error) {
		body, unread = s.Manifest(ctx, repository, d)
		return body, unread
	})
	if err != nil && unread == nil {
		return nil, &UnusableError{err}
	}
	for _, l := range found {
		layers = append(layers, imagefile.Layer(l))
	}
	return layers, err
}

// fetchLayer fetches a complete layer to disk, because the bundle will need it. In a dry run, it
// does nothing.
func (s *Source) fetchLayer(ctx context.Context, repository string, layer closure.Descriptor) error {
	if s.work == nil {
		return nil
	}
	// The key contains the repository, because a layer may exist in one repository and be missing
	// in another.
	key := s.Name(repository, layer.Digest.String())
	_, err := remember(&s.mu, &s.fetched, key, func() (struct{}, error) {
		// Two goroutines must not write the same file.
		lock, _ := remember(&s.mu, &s.locks, layer.Digest.String(), func() (*sync.Mutex, error) { return &sync.Mutex{}, nil })
		lock.Lock()
		defer lock.Unlock()
		if good, err := s.work.keepIntact(ctx, layer); good || err != nil {
			return struct{}{}, err
		}
		if where, err := s.findOlder(ctx, repository, layer); where != nil || err != nil {
			return struct{}{}, err
		}
		f := &fetcher{s.registry, s.work, s.meter}
		return struct{}{}, f.fetch(ctx, layer, []string{repository})
	})
	return err
}
