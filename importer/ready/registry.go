package ready

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/importer/bundle"
	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
	"github.com/layoutproxy/layoutproxy/layoutstore/imagefile"
	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
	"github.com/layoutproxy/layoutproxy/registry/client"
)

// ErrNothingThere reports that there is neither a release nor a module below a path.
var ErrNothingThere = errors.New("no release or module of Deckhouse at that path")

// Registry gathers facts about the content below a path in a registry. It reads the declarations, and sends
// one HEAD request per declared image. Errors are ErrNothingThere and those of the client and the context.
func Registry(ctx context.Context, c *client.Client, at client.Reference, jobs int, scope Scope) (Facts, error) {
	r := &remote{client: c, at: at, jobs: jobs, deep: scope.Deep, lists: map[string]func() ([]string, error){}, known: map[string]func() (Presence, error){}}
	f, err := gather(ctx, r, scope)
	if err == nil && !f.Deckhouse && len(f.Modules) == 0 {
		err = fmt.Errorf("%s: %w", at, ErrNothingThere)
	}
	return f, err
}

// remote is the content of a registry. It requests each list of tags and checks each image only once.
type remote struct {
	client *client.Client
	at     client.Reference
	jobs   int
	deep   bool

	mu    sync.Mutex
	lists map[string]func() ([]string, error)
	known map[string]func() (Presence, error) // cached results, by repository and reference
}

// askOnce returns the result for a key. Only the first caller for the key calls ask; other callers
// wait for its result.
func askOnce[T any](mu *sync.Mutex, known map[string]func() (T, error), key string, ask func() (T, error)) (T, error) {
	mu.Lock()
	answer := known[key]
	if answer == nil {
		answer = sync.OnceValues(ask)
		known[key] = answer
	}
	mu.Unlock()
	return answer()
}

func (r *remote) traits() traits { return traits{parallel: r.jobs, ownList: r.deep} }

func (r *remote) hidden() []problem.Problem { return nil }

func (r *remote) tags(ctx context.Context, path string) ([]string, error) {
	return askOnce(&r.mu, r.lists, path, func() ([]string, error) {
		list, err := r.client.Tags(ctx, r.at.Repository(path))
		if errors.Is(err, client.ErrNotFound) {
			err = nil
		}
		return list, err
	})
}

// forget does nothing: the cached results are small, and another request would be more expensive.
func (r *remote) forget() {}

// modules returns the tags of the repository modules, which are the names of all modules.
func (r *remote) modules(ctx context.Context) ([]string, error) { return r.tags(ctx, modulesPath) }

func (r *remote) check(ctx context.Context, path, reference string) (Presence, error) {
	return askOnce(&r.mu, r.known, path+" "+reference, func() (Presence, error) { return r.ask(ctx, r.at.Repository(path), reference) })
}

// ask sends a HEAD request for an image. In a deep check, it also reads the image's graph.
func (r *remote) ask(ctx context.Context, repository, reference string) (Presence, error) {
	d, err := r.client.HeadManifest(ctx, repository, reference)
	if errors.Is(err, client.ErrNotFound) {
		return Presence{State: Missing}, nil
	}
	if err != nil {
		return Presence{}, err
	}
	p := Presence{State: Complete, Digest: d.Digest}
	if r.deep {
		err = r.follow(ctx, repository, &p)
	}
	return p, err
}

// follow reads the complete graph of an image. It records the content and all problems in p.
func (r *remote) follow(ctx context.Context, repository string, p *Presence) error {
	tops := []closure.Top{{Digest: p.Digest, Tags: []string{""}}} // an entry with a tag counts as a manifest, whatever its media type
	graph, err := closure.Walk(ctx, tops, func(ctx context.Context, d digest.Digest) (body []byte, gap, err error) {
		m, err := r.client.Manifest(ctx, repository, d.String())
		if isContent(err) {
			return nil, err, nil
		}
		return m.Body, nil, err
	})
	if err != nil {
		return err
	}
	note := func(d digest.Digest, err error) {
		kind := problem.Damaged
		if errors.Is(err, client.ErrNotFound) {
			kind = problem.Incomplete
		}
		p.State = Damaged
		p.Problems = append(p.Problems, problem.Problem{Kind: kind, Repository: repository, Digest: d, Reason: err.Error(), Err: err})
	}
	for _, m := range graph.Manifests {
		if m.Unavailable != nil {
			note(m.Digest, m.Unavailable)
		}
		for _, fault := range m.Refs.Malformed {
			note(m.Digest, errors.New(fault))
		}
		p.Content = append(p.Content, Content{m.Digest, m.Size})
	}
	for _, b := range graph.Blobs {
		err := r.readBlob(ctx, repository, closure.Descriptor{Digest: b.Digest, Size: b.Size()})
		switch {
		case err == nil:
			p.Content = append(p.Content, Content{b.Digest, b.Size()})
		case b.Optional && errors.Is(err, client.ErrNotFound):
		case isContent(err):
			note(b.Digest, err)
		default:
			return err
		}
	}
	if p.State != Complete {
		p.Content = nil
	}
	return nil
}

// isContent reports whether an error means that content is missing or damaged. Other errors are about the
// connection to the registry.
func isContent(err error) bool {
	return errors.Is(err, client.ErrNotFound) || errors.Is(err, client.ErrMismatch) || bundle.IsDigestError(err)
}

func (r *remote) readBlob(ctx context.Context, repository string, b closure.Descriptor) error {
	in, err := r.client.Blob(ctx, repository, b.Digest, b.Size, 0)
	if err != nil {
		return err
	}
	defer in.Close()
	_, err = io.Copy(io.Discard, bundle.NewProvingReader(in, b.Digest, repository))
	return err
}

func (r *remote) files(ctx context.Context, path, reference string, names ...string) (map[string][]byte, error, error) {
	repository := r.at.Repository(path)
	found, err := r.check(ctx, path, reference)
	if err != nil {
		return nil, nil, err
	}
	manifest := func(d digest.Digest) ([]byte, error) {
		m, err := r.client.Manifest(ctx, repository, d.String())
		return m.Body, err
	}
	files, err := readFiles(ctx, found.Digest, repository, manifest, func(ctx context.Context, l imagefile.Layer) (io.ReadCloser, error) {
		return r.client.Blob(ctx, repository, l.Digest, l.Size, 0)
	}, names)
	var e *client.Error
	if err == nil || ctx.Err() != nil || errors.As(err, &e) && !isContent(err) {
		return files, nil, err
	}
	return nil, err, nil
}
