package gather

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
	"github.com/layoutproxy/layoutproxy/layoutstore/discovery"
	"github.com/layoutproxy/layoutproxy/layoutstore/edition"
	"github.com/layoutproxy/layoutproxy/layoutstore/inventory"
	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
	"github.com/layoutproxy/layoutproxy/registry/client"
)

// RegistryOptions say which registry to list, and how.
type RegistryOptions struct {
	Client *client.Client
	At     client.Reference
	Jobs   int // maximum number of simultaneous requests

	// If NoEditionSplit is set, a path that ends in the name of an edition is not treated specially: the
	// installer and the d8 program are expected below the path, too.
	NoEditionSplit bool
	// Known is an inventory whose repositories and untagged manifests are checked as well; nil means
	// none. No registry lists its untagged manifests, and many do not list their repositories.
	Known *inventory.Inventory
}

// ErrNoCatalog reports that a registry does not list its repositories.
var ErrNoCatalog = errors.New("the registry does not list its repositories")

// Registry adds the content below a path in a registry to an inventory: every tag except discovery
// tags, with all manifests and blobs of its graph. It sends one HEAD request per blob. It returns
// missing content as problems. The error is ErrNoCatalog, or comes from the client or the context.
func Registry(ctx context.Context, o RegistryOptions, b *inventory.Builder) ([]problem.Problem, error) {
	split := edition.Of(o.At.Path)
	if o.NoEditionSplit {
		split = edition.Unsplit(o.At.Path)
	}
	r := &remote{RegistryOptions: o, split: split, builder: b, blobs: map[digest.Digest]bool{}}
	r.Jobs = max(1, r.Jobs)
	paths, err := r.paths(ctx)
	if err != nil {
		return nil, err
	}
	lists, err := r.tagLists(ctx, paths)
	if err != nil {
		return nil, err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(r.Jobs)
	for path, tags := range lists {
		group.Go(func() error { return r.repository(ctx, path, withoutDiscovery(path, tags, lists)) })
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	slices.SortFunc(r.problems, problem.Compare)
	return r.problems, nil
}

// remote is the state of [Registry] while it lists a registry.
type remote struct {
	RegistryOptions
	split edition.Split

	mu       sync.Mutex // guards the following fields
	builder  *inventory.Builder
	blobs    map[digest.Digest]bool // blobs that have been requested
	problems []problem.Problem
}

func (r *remote) paths(ctx context.Context) (paths []string, err error) {
	names, err := r.Client.Catalog(ctx)
	if err != nil && (ctx.Err() != nil || r.Known == nil) {
		return nil, fmt.Errorf("%w: %w", ErrNoCatalog, err)
	}
	for _, name := range names {
		if path, ok := r.pathOf(name); ok {
			paths = append(paths, path)
		}
	}
	if r.Known != nil {
		for _, repo := range r.Known.Repositories {
			paths = append(paths, repo.Path)
		}
	}
	slices.Sort(paths)
	return slices.Compact(paths), nil
}

// pathOf returns the path that a repository of the registry has in a bundle. ok is false if the repository is
// not below the path to list.
func (r *remote) pathOf(name string) (path string, ok bool) {
	if name == r.split.Root {
		return ".", true
	}
	for _, base := range []string{r.split.Root, r.split.Parent} {
		path, ok := strings.CutPrefix(name, base+"/")
		if base == "" {
			path, ok = name, true
		}
		if ok && r.split.Base(path) == base {
			return path, true
		}
	}
	return "", false
}

func (r *remote) tagLists(ctx context.Context, paths []string) (map[string][]string, error) {
	lists := map[string][]string{}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(r.Jobs)
	for _, path := range paths {
		name := r.split.Name(path)
		if name == "" {
			continue
		}
		group.Go(func() error {
			tags, err := r.Client.Tags(ctx, name)
			if errors.Is(err, client.ErrNotFound) {
				return nil
			}
			if err != nil {
				return err
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			lists[path] = tags
			return nil
		})
	}
	return lists, group.Wait()
}

// withoutDiscovery returns a repository's tags without discovery tags. Only some repositories have
// discovery tags. In these, a tag is a discovery tag if there is a repository at path/TAG or below.
func withoutDiscovery(path string, tags []string, lists map[string][]string) []string {
	if !slices.Contains(discovery.Indexes(), path) {
		return tags
	}
	return slices.DeleteFunc(slices.Clone(tags), func(tag string) bool {
		for other := range lists {
			if other == path+"/"+tag || strings.HasPrefix(other, path+"/"+tag+"/") {
				return true
			}
		}
		return false
	})
}

// repository adds one repository to the inventory, with the graphs of its tags.
func (r *remote) repository(ctx context.Context, path string, tags []string) error {
	tops := map[digest.Digest]closure.Top{}
	bodies := map[digest.Digest][]byte{}
	name := r.split.Name(path)
	add := func(reference, tag string) error {
		m, err := r.Client.Manifest(ctx, name, reference)
		if errors.Is(err, client.ErrNotFound) {
			if tag != "" {
				r.add(problem.Problem{Kind: problem.Incomplete, Repository: name, Tags: []string{tag}, Reason: "the registry lists this tag, but does not have its manifest"})
			}
			return nil
		}
		if err != nil {
			return err
		}
		top, known := tops[m.Digest]
		if !known {
			top = closure.Top{Digest: m.Digest, MediaType: m.MediaType, Sizes: []int64{int64(len(m.Body))}}
			bodies[m.Digest] = m.Body
		}
		if tag != "" {
			top.Tags = append(top.Tags, tag)
		}
		tops[m.Digest] = top
		return nil
	}
	for _, tag := range tags {
		if err := add(tag, tag); err != nil {
			return err
		}
	}
	for _, d := range r.knownUntagged(path) {
		if err := add(d.String(), ""); err != nil {
			return err
		}
	}
	if len(tops) == 0 {
		return nil
	}
	all := slices.SortedFunc(maps.Values(tops), func(a, b closure.Top) int { return cmp.Compare(a.Digest, b.Digest) })
	for _, top := range all {
		slices.Sort(top.Tags)
	}
	graph, err := closure.Walk(ctx, all, func(ctx context.Context, d digest.Digest) (body []byte, missing, err error) {
		if body := bodies[d]; body != nil {
			return body, nil, nil
		}
		m, err := r.Client.Manifest(ctx, name, d.String())
		if errors.Is(err, client.ErrNotFound) {
			return nil, err, nil
		}
		return m.Body, nil, err
	})
	if err != nil {
		return err
	}
	r.addManifests(path, name, graph)
	return r.addBlobs(ctx, name, graph)
}

// knownUntagged returns the untagged manifests that the known inventory lists for a repository.
func (r *remote) knownUntagged(path string) (all []digest.Digest) {
	if r.Known == nil {
		return nil
	}
	repo, ok := r.Known.Repository(path)
	if !ok {
		return nil
	}
	for _, m := range repo.Untagged {
		all = append(all, m.Digest)
	}
	return all
}

func (r *remote) add(p problem.Problem) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.problems = append(r.problems, p)
}

func (r *remote) addManifests(path, name string, graph *closure.Graph) {
	for _, m := range graph.Manifests {
		if m.Unavailable != nil {
			r.add(problem.Problem{Kind: problem.Incomplete, Repository: name, Tags: m.TagsTo(), Digest: m.Digest, Reason: m.Unavailable.Error(), Err: m.Unavailable})
			continue
		}
		r.mu.Lock()
		listed := inventory.Blob{Digest: m.Digest, Size: m.Size}
		r.builder.AddBlob(listed)
		for _, tag := range m.Tags {
			r.builder.AddTag(path, tag, listed)
		}
		if m.Top && len(m.Tags) == 0 {
			r.builder.AddUntagged(path, listed)
		}
		r.mu.Unlock()
	}
}

// addBlobs adds the existing blobs of a graph to the inventory. It requests each blob only once, with HEAD.
func (r *remote) addBlobs(ctx context.Context, name string, graph *closure.Graph) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(r.Jobs)
	for _, b := range graph.Blobs {
		r.mu.Lock()
		requested := r.blobs[b.Digest]
		r.blobs[b.Digest] = true
		r.mu.Unlock()
		if requested {
			continue
		}
		group.Go(func() error {
			size, err := r.Client.HeadBlob(ctx, name, b.Digest)
			switch {
			case errors.Is(err, client.ErrNotFound):
				if !b.Optional {
					r.add(problem.Problem{Kind: problem.Incomplete, Repository: name, Tags: b.TagsTo(), Digest: b.Digest, Reason: problem.Missing})
				}
				return nil
			case err != nil:
				return err
			}
			if size < 0 {
				size = b.Size() // use the size that the manifest states, because the registry reports none
			}
			if !slices.ContainsFunc(b.Claims, func(c closure.Claim) bool { return c.Size == size }) {
				r.add(problem.Problem{Kind: problem.Damaged, Repository: name, Tags: b.TagsTo(), Digest: b.Digest, Reason: fmt.Sprintf("the blob has %d bytes, but the manifest says %d", size, b.Size())})
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			r.builder.AddBlob(inventory.Blob{Digest: b.Digest, Size: size})
			return nil
		})
	}
	return group.Wait()
}
