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
	"github.com/layoutproxy/layoutproxy/registry/client"
)

const (
	// maxListed limits how many tags of all repositories are remembered, and maxInMemory how
	// many bytes of manifests, if nothing may be written. No real source has that many.
	maxListed   = 4 << 20
	maxInMemory = 1 << 30
)

// Source reads a registry. It requests everything only once, and does not request content that
// is left from an earlier pull or in an older bundle. Its methods may be called from several
// goroutines.
type Source struct {
	registry *client.Client
	meter    Meter
	work     *work            // nil if nothing may be written: manifests are kept in memory
	reusable *bundle.Reusable // nil without an older bundle

	mu       sync.Mutex
	inMemory int64 // bytes of bodies
	listed   int   // tags of all lists
	bodies   map[digest.Digest][]byte

	resolved  memory[closure.Descriptor] // by reference
	lists     memory[map[string]bool]    // by repository
	fetched   memory[struct{}]           // layers, by repository and digest
	locks     memory[*sync.Mutex]        // held while a layer is fetched, by digest
	older     memory[extent.List]        // layers in older archives, by digest
	referring memory[client.Referrers]   // by image
	files     memory[map[string][]byte]  // of images, by reference and names
}

// memory caches values. If several goroutines need the same value, the first computes it for all.
type memory[T any] map[string]func() (T, error)

func newSource(registry *client.Client, meter Meter, w *work, reusable *bundle.Reusable) *Source {
	return &Source{registry: registry, meter: meter, work: w, reusable: reusable, bodies: map[digest.Digest][]byte{}}
}

// reopen makes the source reuse other archives, for another attempt at the same pull. It keeps the
// answers of the registry. No goroutine may use the source meanwhile.
func (s *Source) reopen(reusable *bundle.Reusable) {
	s.reusable = reusable
	clear(s.fetched)
	clear(s.older)
}

// referrers returns the manifests that refer to an image. Errors: those of
// [client.Client.Referrers].
func (s *Source) referrers(ctx context.Context, repository string, d digest.Digest) (client.Referrers, error) {
	return remember(&s.mu, &s.referring, s.Name(repository, d.String()), func() (client.Referrers, error) {
		return s.registry.Referrers(ctx, repository, d)
	})
}

// remember returns the value of a key, and computes it at the first call.
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

// IsAbsent reports whether an error means that content is missing. Only a 404 does: content may
// exist if access to it is refused or the request for it fails.
func IsAbsent(err error) bool { return errors.Is(err, client.ErrNotFound) }

// IsRefused reports whether the registry denies this client access.
func IsRefused(err error) bool {
	return errors.Is(err, client.ErrUnauthorized) || errors.Is(err, client.ErrDenied)
}

// Name returns a reference with its repository, as HOST/PATH:TAG or HOST/PATH@DIGEST.
func (s *Source) Name(repository, reference string) string {
	sep := ":"
	if digest.Digest(reference).Validate() == nil {
		sep = "@"
	}
	return s.registry.Registry() + "/" + repository + sep + reference
}

// Resolve fetches the manifest of a tag or digest. A tag leads to the same manifest for
// as long as the source is used, even if it moves in the registry. Errors: those of
// [client.Client.Manifest].
func (s *Source) Resolve(ctx context.Context, repository, reference string) (closure.Descriptor, error) {
	return remember(&s.mu, &s.resolved, s.Name(repository, reference), func() (closure.Descriptor, error) {
		if d := digest.Digest(reference); d.Validate() == nil {
			if body, ok := s.storedManifest(ctx, repository, d); ok {
				// The type comes from the body: its mediaType or its fields.
				refs, err := closure.Parse(body)
				if err != nil {
					return closure.Descriptor{}, &UnusableError{err}
				}
				return closure.Descriptor{MediaType: refs.MediaType, Digest: d, Size: int64(len(body))}, nil
			}
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

// mediaTypeOf returns the type of a manifest: the one in the registry's answer, otherwise the
// one that the manifest states. Errors: *UnusableError for a manifest without a usable type,
// which mostly has an old format.
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
		return fmt.Errorf("the manifests have more than %d bytes in all, which is too much for --dry-run: plan less at once", maxInMemory)
	}
	s.bodies[d] = body
	return nil
}

// storedManifest returns a manifest that is stored already, after verifying it. If ctx has ended,
// it finds none, and the request to the registry, which follows, returns the cause.
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

// Manifest returns the bytes of a manifest by its digest.
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

// Tags returns the tags of a repository. Errors: those of [client.Client.Tags].
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

// read opens a blob: a stored one, or otherwise the registry's. The reader verifies the digest
// at its end.
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

// findOlder returns the place of a blob in an older archive; nil if there is none whose content
// has the digest.
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
