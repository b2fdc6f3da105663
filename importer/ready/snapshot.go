package ready

import (
	"context"
	"errors"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/importer/bundle"
	"github.com/layoutproxy/layoutproxy/importer/release"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/imagefile"
	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
)

// Snapshot gathers the facts of sources. Errors: layoutstore.ErrStale if a file changed
// meanwhile; those for which [layoutstore.IsExhausted] is true; the context's.
func Snapshot(ctx context.Context, s *layoutstore.Snapshot, scope Scope) (Facts, error) {
	return gather(ctx, &sources{snapshot: s, deep: scope.Deep, audits: map[string]*audit{}}, scope)
}

// Versions returns the versions of the platform in the sources, complete or not. hidden reports
// whether problems may hide others.
func Versions(ctx context.Context, s *layoutstore.Snapshot) (versions []string, hidden bool, err error) {
	g := &gatherer{content: &sources{snapshot: s}}
	found, err := g.findBuilds(ctx)
	return found.here, len(g.hidden()) > 0, err
}

// sources is the content of a snapshot. Only one goroutine may use it.
type sources struct {
	snapshot *layoutstore.Snapshot
	deep     bool
	audits   map[string]*audit // by path
	hiding   []problem.Problem // see hidden; nil before the first call
}

func (s *sources) traits() traits { return traits{parallel: 1, allVersions: true, ownList: true} }

// audit is a checked repository. Its maps are by digest.
type audit struct {
	*layoutstore.Audit
	repository *layoutstore.Repository
	problems   map[digest.Digest][]problem.Problem // why something cannot be served
	known      map[digest.Digest]Presence          // of checked images
	proven     map[digest.Digest]*problem.Problem  // of blobs that were read; nil means intact
}

// at returns the audit of the repository at a path, or nil if there is none.
func (s *sources) at(ctx context.Context, path string) (*audit, error) {
	if in, ok := s.audits[path]; ok {
		return in, nil
	}
	repository, err := s.snapshot.At(path)
	if errors.Is(err, layoutstore.ErrRepositoryUnknown) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	taken, err := s.snapshot.Audit(ctx, path)
	if err != nil {
		return nil, err
	}
	in := &audit{Audit: taken, repository: repository,
		problems: map[digest.Digest][]problem.Problem{}, known: map[digest.Digest]Presence{}, proven: map[digest.Digest]*problem.Problem{}}
	for _, p := range taken.Problems {
		if p.IsFailure() && !taken.IsHarmless(p) {
			in.problems[p.Digest] = append(in.problems[p.Digest], p)
		}
	}
	s.audits[path] = in
	return in, nil
}

func (s *sources) tags(_ context.Context, path string) ([]string, error) {
	repository, err := s.snapshot.At(path)
	if errors.Is(err, layoutstore.ErrRepositoryUnknown) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	tags, _ := repository.Tags("", -1)
	return tags, nil
}

// Packages gathers the facts of all packages in the sources. They are not part of a verdict.
// Errors: those of [Snapshot].
func Packages(ctx context.Context, s *layoutstore.Snapshot) (all []Module, err error) {
	from := &sources{snapshot: s, audits: map[string]*audit{}}
	g := &gatherer{content: from}
	for _, name := range from.below(packagesPath) {
		m, err := g.versioned(ctx, path.Join(packagesPath, name), "version", release.Selector{Name: name})
		if err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	return all, nil
}

// modules returns the directories below modules that have a repository.
func (s *sources) modules(context.Context) ([]string, error) { return s.below(modulesPath), nil }

// below returns the directories below a path that have a repository.
func (s *sources) below(parent string) (names []string) {
	for _, path := range s.snapshot.Paths() {
		if below, ok := strings.CutPrefix(path, parent+"/"); ok {
			name, _, _ := strings.Cut(below, "/")
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// hidden collects the problems once: it is called for every missing image, and a tree may have
// thousands of repositories.
func (s *sources) hidden() []problem.Problem {
	if s.hiding == nil {
		s.hiding = slices.DeleteFunc(append([]problem.Problem{}, s.snapshot.ScanProblems()...), func(p problem.Problem) bool { return !p.TagsUnknown || !p.IsFailure() })
	}
	return slices.Clone(s.hiding)
}

// forget drops all audits: each contains the graphs of a whole repository.
func (s *sources) forget() { clear(s.audits) }

func (s *sources) check(ctx context.Context, path, reference string) (Presence, error) {
	in, err := s.at(ctx, path)
	if err != nil {
		return Presence{}, err
	}
	if in == nil {
		return Presence{State: Missing, Problems: s.causes(path, nil)}, nil
	}
	d := digest.Digest(reference)
	if d.Validate() != nil {
		if d, err = in.repository.TagDigest(reference); err != nil {
			return Presence{State: Missing, Problems: s.causes(path, in)}, nil
		}
	}
	p, known := in.known[d]
	if !known {
		if p, err = in.follow(ctx, d, s.deep); err != nil {
			return p, err
		}
		if p.State == Missing && len(p.Problems) == 0 {
			p.Problems = s.causes(path, in)
		}
		in.known[d] = p
	}
	return p, nil
}

// files reads files out of an image.
func (s *sources) files(ctx context.Context, path, reference string, names ...string) (files map[string][]byte, unreadable, err error) {
	in, err := s.at(ctx, path)
	if err != nil {
		return nil, nil, err
	}
	d, err := in.repository.TagDigest(reference)
	if err != nil {
		return nil, err, nil
	}
	manifest := func(d digest.Digest) ([]byte, error) { return in.repository.ManifestBytes(ctx, d) }
	files, err = readFiles(ctx, d, path, manifest, func(ctx context.Context, l imagefile.Layer) (io.ReadCloser, error) {
		blob, err := in.repository.Blob(ctx, l.Digest)
		if err != nil {
			return nil, err
		}
		return blob.Open(ctx)
	}, names)
	if err == nil || ctx.Err() != nil || errors.Is(err, layoutstore.ErrStale) || layoutstore.IsExhausted(err) {
		return files, nil, err
	}
	return nil, err, nil
}

// causes returns the problems that may explain why something is missing in a repository: those
// that may hide tags. If some concern the repository's own archives, it returns only those.
func (s *sources) causes(path string, in *audit) (own []problem.Problem) {
	all := s.hidden()
	archives := map[string]bool{}
	if in != nil {
		for _, l := range in.repository.Layouts() {
			file, _ := l.Where()
			archives[file] = true
		}
	}
	for _, p := range all {
		if archives[p.Path] || p.Layout == path {
			own = append(own, p)
		}
	}
	if len(own) > 0 {
		return own
	}
	return all
}

// follow checks the graph of an image.
func (in *audit) follow(ctx context.Context, top digest.Digest, deep bool) (Presence, error) {
	p := Presence{State: Complete, Digest: top}
	for ref, m := range in.Graph.Below(top) {
		d := ref.Digest
		_, size, found := in.ServedCopy(d)
		isDiscovery := in.repository.IsDiscovery(d)
		switch {
		case isDiscovery:
		case !found && ref.Optional && len(in.problems[d]) == 0:
			continue // a bundle need not contain a layer of this media type
		case !found || m != nil && m.Unavailable != nil || d == top && m == nil:
			p.fail(d == top && !found, in.problems[d])
			continue
		case deep:
			wrong, err := in.prove(ctx, d, m != nil)
			if err != nil {
				return p, err
			}
			if wrong != nil {
				p.fail(false, []problem.Problem{*wrong})
			}
		}
		p.Content = append(p.Content, Content{d, size})
	}
	if p.State != Complete {
		p.Content = nil
	}
	return p, nil
}

// fail records that a part of an image is missing or wrong. The image counts as missing, and not
// as damaged, if its own manifest is missing without a known reason.
func (p *Presence) fail(isTop bool, why []problem.Problem) {
	if isTop && !slices.ContainsFunc(why, func(p problem.Problem) bool { return p.Kind != problem.Incomplete }) {
		p.State = Missing
	} else if p.State != Missing {
		p.State = Damaged
	}
	p.Problems = append(p.Problems, why...)
}

// prove reads a blob and verifies its digest. The audit has already read the manifests.
func (in *audit) prove(ctx context.Context, d digest.Digest, isManifest bool) (*problem.Problem, error) {
	if wrong, known := in.proven[d]; known || isManifest {
		return wrong, nil
	}
	l, _, _ := in.ServedCopy(d)
	where, err := l.Locate(ctx, d)
	if err != nil {
		return nil, err
	}
	good, err := bundle.HasDigest(ctx, where, d)
	if err != nil {
		return nil, err
	}
	var wrong *problem.Problem
	if !good {
		p, err := in.DamagedCopy(ctx, layoutstore.Stored{Layout: l, Digest: d, Where: where}, "checksum mismatch, or it cannot be read: copy it again")
		if err != nil {
			return nil, err
		}
		wrong = &p
	}
	in.proven[d] = wrong
	return wrong, nil
}
