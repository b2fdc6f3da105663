package pull

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/importer/bundle"
	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
	"github.com/layoutproxy/layoutproxy/layoutstore/names"
	"github.com/layoutproxy/layoutproxy/registry/client"
)

const (
	// maxListed is the maximum number of tags that are remembered for all repositories. maxInMemory
	// is the maximum total size in bytes of manifests in memory, in a dry run. No real source
	// reaches these limits.
	maxListed   = 4 << 20
	maxInMemory = 1 << 30
)

// Source reads a registry. It remembers tags, manifests and files of images. It does not request content that
// an earlier pull or an older bundle has already stored. Its methods are safe for concurrent use.
type Source struct {
	registry *client.Client
	meter    Meter
	// work is nil if nothing may be written. Manifests are then kept in memory.
	work *work
	// reusable is nil if there is no older bundle.
	reusable *bundle.Reusable
	// lost are the blobs that are missing or damaged in the registry, with the reasons.
	lost map[digest.Digest]string

	mu sync.Mutex
	// inMemory is the total size in bytes of the manifests in memory.
	inMemory int64
	// listed is the number of tags in all lists.
	listed int
	bodies map[digest.Digest][]byte

	// resolved contains the manifests of tags and digests, by name.
	resolved memory[closure.Descriptor]
	// lists contains the tags of repositories.
	lists memory[map[string]bool]
	// fetched contains the layers that were fetched, by repository and digest.
	fetched memory[struct{}]
	// locks are held while a layer is fetched, one per digest.
	locks memory[*sync.Mutex]
	// older contains the places of layers in older archives and trees, by digest.
	older memory[extent.List]
	// referring contains the referrers of images.
	referring memory[client.Referrers]
	// files contains files of images, by image and names of the files.
	files memory[map[string][]byte]
}

// memory caches values. If several goroutines need the same value, the first one computes it.
type memory[T any] map[string]func() (T, error)

func newSource(registry *client.Client, meter Meter, w *work, reusable *bundle.Reusable) *Source {
	return &Source{registry: registry, meter: meter, work: w, reusable: reusable, lost: map[digest.Digest]string{}, bodies: map[digest.Digest][]byte{}}
}

// reopen replaces the archives and trees that the source reuses, before a new attempt of the same pull. It
// keeps the registry's responses. It must not be called while another goroutine uses the source.
func (s *Source) reopen(reusable *bundle.Reusable) {
	s.reusable = reusable
	clear(s.fetched)
	clear(s.older)
}

// referrers returns the manifests that refer to an image. Its errors are those of
// [client.Client.Referrers].
func (s *Source) referrers(ctx context.Context, repository string, d digest.Digest) (client.Referrers, error) {
	return remember(&s.mu, &s.referring, s.Name(repository, d.String()), func() (client.Referrers, error) {
		return s.registry.Referrers(ctx, repository, d)
	})
}

// remember returns the value of a key. At the first call for a key, it computes the value.
func remember[T any](mu *sync.Mutex, all *memory[T], key string, compute func() (T, error)) (T, error) {
	mu.Lock()
	if *all == nil {
		*all = memory[T]{}
	}
	get := (*all)[key]
	if get == nil {
		get = sync.OnceValues(compute)
		(*all)[key] = get
	}
	mu.Unlock()
	return get()
}

// IsAbsent reports whether an error means that content is missing. Only status 404 means this. If
// access is refused or a request fails, the content may still exist.
func IsAbsent(err error) bool { return errors.Is(err, client.ErrNotFound) }

// IsRefused reports whether the registry denies access to this client.
func IsRefused(err error) bool {
	return errors.Is(err, client.ErrUnauthorized) || errors.Is(err, client.ErrDenied)
}

// Name returns the complete name of a tag or digest, as HOST/PATH:TAG or HOST/PATH@DIGEST.
func (s *Source) Name(repository, reference string) string {
	sep := ":"
	if digest.Digest(reference).Validate() == nil {
		sep = "@"
	}
	return s.registry.Registry() + "/" + repository + sep + reference
}

// Resolve returns the descriptor of a tag or digest, and fetches its manifest. A tag always leads
// to the same manifest, even if the tag moves in the registry meanwhile. A malformed tag is an
// *UnusableError, and is not requested. Other errors are those of [client.Client.Manifest].
func (s *Source) Resolve(ctx context.Context, repository, reference string) (closure.Descriptor, error) {
	return remember(&s.mu, &s.resolved, s.Name(repository, reference), func() (closure.Descriptor, error) {
		if d := digest.Digest(reference); d.Validate() == nil {
			if body, ok := s.storedManifest(ctx, repository, d); ok {
				// Take the media type from the body: its mediaType field or its other fields.
				refs, err := closure.Parse(body)
				if err != nil {
					return closure.Descriptor{}, &UnusableError{err}
				}
				return closure.Descriptor{MediaType: refs.MediaType, Digest: d, Size: int64(len(body))}, nil
			}
		} else if err := names.CheckTag(reference); err != nil { // for example, a tag that an image lists
			return closure.Descriptor{}, &UnusableError{fmt.Errorf("malformed tag %.80q: %w", reference, err)}
		}
		m, err := s.registry.Manifest(ctx, repository, reference)
		if err != nil {
			return closure.Descriptor{}, err
		}
		typ, err := mediaTypeOf(m)
		if err != nil {
			return closure.Descriptor{}, err
		}
		return closure.Descriptor{MediaType: typ, Digest: m.Digest, Size: int64(len(m.Body))}, s.storeManifest(m.Digest, m.Body)
	})
}

// mediaTypeOf returns the media type of a manifest: the one in the registry's response or, if the
// response has none, the one that the manifest states. It fails with *UnusableError if the manifest
// has no usable type, for example because its format is too old.
func mediaTypeOf(m client.Manifest) (string, error) {
	switch m.MediaType {
	case "", "application/json", "application/octet-stream", "text/plain":
		var doc struct {
			SchemaVersion int `json:"schemaVersion"`
		}
		if err := json.Unmarshal(m.Body, &doc); err != nil || doc.SchemaVersion == 1 {
			return "", &UnusableError{errors.New("neither an OCI manifest nor a Docker schema 2 manifest")}
		}
		refs, err := closure.Parse(m.Body)
		if err != nil {
			return "", &UnusableError{err}
		}
		return refs.MediaType, nil
	}
	if !closure.IsManifest(m.MediaType) {
		return "", &UnusableError{fmt.Errorf("unsupported manifest type %.80q", m.MediaType)}
	}
	if _, _, _, err := closure.ParseAs(m.Body, m.MediaType); err != nil {
		return "", &UnusableError{err}
	}
	return m.MediaType, nil
}

func (s *Source) storeManifest(d digest.Digest, body []byte) error {
	if s.work != nil {
		return s.work.store(d, body)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bodies[d] == nil {
		s.inMemory += int64(len(body))
	}
	if s.inMemory > maxInMemory {
		return fmt.Errorf("the manifests have more than %d bytes in all, which is too much for --dry-run: plan fewer images at once", maxInMemory)
	}
	s.bodies[d] = body
	return nil
}

// storedManifest returns a manifest that is already stored, after verifying it. If ctx has ended, it finds
// nothing in older archives and trees. The following request to the registry then returns the cause.
func (s *Source) storedManifest(ctx context.Context, layout string, d digest.Digest) ([]byte, bool) {
	if s.work == nil {
		s.mu.Lock()
		body, ok := s.bodies[d]
		s.mu.Unlock()
		if ok {
			return body, true
		}
	} else if s.work.hasBlob(d, -1) {
		if body, err := readAll(s.work.open(d)); err == nil {
			return body, true
		}
	}
	where, _, err := s.reusable.Find(ctx, layout, d, -1)
	if err != nil || where == nil || where.Size() > client.MaxManifest {
		return nil, false
	}
	body, err := where.ReadAll(ctx)
	if err != nil || d.Algorithm().FromBytes(body) != d {
		return nil, false
	}
	if s.work != nil && s.work.store(d, body) != nil {
		return nil, false
	}
	return body, true
}

func readAll(r io.ReadCloser, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(io.LimitReader(r, client.MaxManifest+1))
}

// Manifest returns the bytes of the manifest with a digest.
func (s *Source) Manifest(ctx context.Context, repository string, d digest.Digest) ([]byte, error) {
	if body, ok := s.storedManifest(ctx, repository, d); ok {
		return body, nil
	}
	m, err := s.registry.Manifest(ctx, repository, d.String())
	if err != nil {
		return nil, err
	}
	return m.Body, s.storeManifest(d, m.Body)
}

// Tags returns the tags of a repository. Its errors are those of [client.Client.Tags].
func (s *Source) Tags(ctx context.Context, repository string) (map[string]bool, error) {
	return remember(&s.mu, &s.lists, repository, func() (map[string]bool, error) {
		list, err := s.registry.Tags(ctx, repository)
		if err != nil {
			return nil, err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.listed += len(list); s.listed > maxListed {
			return nil, fmt.Errorf("the repositories of the source list more than %d tags in all: remove old ones there, or pull fewer repositories at once", maxListed)
		}
		set := make(map[string]bool, len(list))
		for _, tag := range list {
			set[tag] = true
		}
		return set, nil
	})
}

// read opens a blob for reading. It reads the registry only if neither the working directory of this pull nor
// an older archive or tree has a readable copy. At its end, the reader verifies the blob's digest.
func (s *Source) read(ctx context.Context, repository string, b closure.Descriptor, fresh bool) (io.ReadCloser, error) {
	if s.work != nil && s.work.hasBlob(b.Digest, b.Size) {
		return s.work.open(b.Digest)
	}
	where, err := s.findOlder(ctx, repository, b)
	if err != nil {
		return nil, err
	}
	if where != nil {
		if r, err := where.Open(ctx); err == nil {
			return bundle.NewProvingReader(r, b.Digest, where.String()), nil
		}
	}
	open := s.registry.Blob
	if fresh {
		open = s.registry.FreshBlob
	}
	r, err := open(ctx, repository, b.Digest, b.Size, 0)
	if err != nil {
		return nil, err
	}
	return bundle.NewProvingReader(r, b.Digest, s.registry.Registry()+"/"+repository), nil
}

// findOlder returns the place of a blob in an older archive or tree. It returns nil if none of them
// has the blob, or if the copy that it finds first is damaged.
func (s *Source) findOlder(ctx context.Context, repository string, b closure.Descriptor) (extent.List, error) {
	return remember(&s.mu, &s.older, b.Digest.String(), func() (extent.List, error) {
		where, _, err := s.reusable.Find(ctx, repository, b.Digest, b.Size)
		if where == nil {
			return nil, err
		}
		good, err := bundle.HasDigest(ctx, where, b.Digest)
		if !good {
			return nil, err
		}
		return where, err
	})
}
