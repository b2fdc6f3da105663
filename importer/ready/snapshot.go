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

// Snapshot gathers facts about the content of sources. If a file changed meanwhile, the error is
// layoutstore.ErrStale. Other errors are those for which [layoutstore.IsExhausted] is true, and the
// context's.
func Snapshot(ctx context.Context, s *layoutstore.Snapshot, scope Scope) (Facts, error) {
	return gather(ctx, &sources{snapshot: s, deep: scope.Deep, audits: map[string]*audit{}}, scope)
}

// Versions returns the versions of the platform in the sources, even if they are not complete. hidden reports
// whether problems may hide more versions.
func Versions(ctx context.Context, s *layoutstore.Snapshot) (versions []string, hidden bool, err error) {
	g := &gatherer{content: &sources{snapshot: s}}
	found, err := g.findBuilds(ctx)
	return found.here, len(g.hidden()) > 0, err
}

// sources is the content of a snapshot. Only one goroutine may use it.
type sources struct {
	snapshot *layoutstore.Snapshot
	deep     bool
	audits   map[string]*audit // keyed by the path of the repository

	hiding []problem.Problem // cached result of hidden; nil before its first call
}

func (s *sources) traits() traits { return traits{parallel: 1, allVersions: true, ownList: true} }

// audit is a repository whose graphs are checked. The keys of its maps are digests.
type audit struct {
	*layoutstore.Audit
	repository *layoutstore.Repository
	problems   map[digest.Digest][]problem.Problem // reasons why content cannot be served

	known map[digest.Digest]Presence // results for checked images

	proven map[digest.Digest]*problem.Problem // results for blobs that were read; nil means intact
}

// at returns the audit of the repository at a path, or nil if there is no repository.
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

// Packages gathers the facts of all packages in the sources. Packages are not part of a verdict. Errors are
// those of [Snapshot].
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

// modules returns the names directly below the path modules.
func (s *sources) modules(context.Context) ([]string, error) { return s.below(modulesPath), nil }

// below returns each name directly below a path, if it is a repository or contains one.
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

// hidden collects the problems only at the first call. It is called for every missing image, and a tree may
// have thousands of repositories.
func (s *sources) hidden() []problem.Problem {
	if s.hiding == nil {
		s.hiding = slices.DeleteFunc(append([]problem.Problem{}, s.snapshot.ScanProblems()...), func(p problem.Problem) bool { return !p.TagsUnknown || !p.IsFailure() })
	}
	return slices.Clone(s.hiding)
}

// forget drops all audits, because each contains all graphs of a repository.
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

// causes returns the problems that may hide tags, and so may explain why something is missing. If some of
// these problems are about the archives of the repository itself, it returns only those.
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

// follow checks whether the graph of an image is complete. In a deep check, it also verifies the blobs.
func (in *audit) follow(ctx context.Context, top digest.Digest, deep bool) (Presence, error) {
	p := Presence{State: Complete, Digest: top}
	for ref, m := range in.Graph.Below(top) {
		d := ref.Digest
		_, size, found := in.ServedCopy(d)
		isDiscovery := in.repository.IsDiscovery(d)
		switch {
		case isDiscovery:
		case !found && ref.Optional && len(in.problems[d]) == 0:
			continue // a bundle may omit an optional layer
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

// fail records that a part of an image is missing or damaged. If the image's own manifest is missing (isTop),
// and all problems in why are Incomplete, the image counts as missing. Otherwise, it counts as damaged.
func (p *Presence) fail(isTop bool, why []problem.Problem) {
	if isTop && !slices.ContainsFunc(why, func(p problem.Problem) bool { return p.Kind != problem.Incomplete }) {
		p.State = Missing
	} else if p.State != Missing {
		p.State = Damaged
	}
	p.Problems = append(p.Problems, why...)
}

// prove reads a blob, and verifies its digest. It does not read manifests, because the audit has already
// verified them.
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
		p, err := in.DamagedCopy(ctx, layoutstore.Stored{Layout: l, Digest: d, Where: where}, "checksum mismatch, or the file cannot be read: copy it again")
		if err != nil {
			return nil, err
		}
		wrong = &p
	}
	in.proven[d] = wrong
	return wrong, nil
}
