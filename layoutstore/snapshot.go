package layoutstore

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/layoutproxy/layoutproxy/layoutstore/names"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// Snapshot is the state of the tree that one scan found. It does not change.
type Snapshot struct {
	generation uint64
	since      time.Time // when the generation was first found
	dirs       []string
	roots      []string
	names      []string               // names of repositories, sorted
	repos      map[string]*Repository // repositories by name
	aliases    map[string]string      // names of repositories, by their aliases: the names that older tools gave them
	paths      []string               // keys of byPath, sorted
	byPath     map[string]*Repository // repositories by [scope.key] of their path
	served     map[string]string      // first name of each repository, by its key in byPath
	tags       int
	problems   []Problem // problems that the scan found
	hiding     []Problem // those problems that may hide repositories and tags
	sources    []SourceStatus
	objects    []SourceObjects
	places     []string // places of the sources in buckets
	quarantine *quarantine
}

// Generation returns the number of the generation. The first is 1, and each change adds 1.
func (s *Snapshot) Generation() uint64 { return s.generation }

// Since returns the time at which the generation was first found.
func (s *Snapshot) Since() time.Time { return s.since }

// Directories returns the directories in which changes may change the tree: all directories of the
// sources except those of blobs.
func (s *Snapshot) Directories() []string { return slices.Clone(s.dirs) }

// Roots returns the roots below which the tree is served. "" means that names have no root.
func (s *Snapshot) Roots() []string { return slices.Clone(s.roots) }

// Sources returns the states of the sources in their order. Archives in a directory come before the
// directory itself.
func (s *Snapshot) Sources() []SourceStatus { return slices.Clone(s.sources) }

// SourceObjects describes a source in a bucket, with its objects.
type SourceObjects struct {
	Dir     string // place of the objects, for messages
	Archive string // name of the archive if the source is an archive, or empty
	// Objects are the objects that the scan listed. If the source is an archive, Objects is the
	// place that contains the archive, and was not listed yet.
	Objects *volume.Objects
}

// Objects returns the sources in buckets that are not stores, with their objects.
func (s *Snapshot) Objects() []SourceObjects { return slices.Clone(s.objects) }

// Places returns the places in buckets that the sources are read from, as [bucket.Reader.Place] returns them.
func (s *Snapshot) Places() []string { return slices.Clone(s.places) }

// TagCount returns the number of tags in all repositories.
func (s *Snapshot) TagCount() int { return s.tags }

// RepositoryCount returns the number of repositories.
func (s *Snapshot) RepositoryCount() int { return len(s.names) }

// Repository returns the repository with a name, which includes the root. The name may be an alias:
// the name that older tools gave the repository. No list contains aliases. The error is
// ErrNameInvalid or ErrRepositoryUnknown.
func (s *Snapshot) Repository(name string) (*Repository, error) {
	if r := s.repos[name]; r != nil {
		return r, nil
	}
	if current, ok := s.aliases[name]; ok {
		return s.repos[current], nil
	}
	if !names.IsRepository(name) {
		return nil, fmt.Errorf("%.300q: %w", name, ErrNameInvalid)
	}
	return nil, fmt.Errorf("%q: %w", name, ErrRepositoryUnknown)
}

// Paths returns the paths of all repositories, sorted, for [Snapshot.At]. A path does not contain a
// root; "." is the root layout. Use paths to copy a tree, because names depend on the roots.
func (s *Snapshot) Paths() []string { return slices.Clone(s.paths) }

// At returns the repository at a path. If there is none, the error is ErrRepositoryUnknown.
func (s *Snapshot) At(path string) (*Repository, error) {
	if r := s.byPath[path]; r != nil {
		return r, nil
	}
	return nil, fmt.Errorf("%q: %w", path, ErrRepositoryUnknown)
}

// Repositories returns the names that are greater than the parameter after, in byte order, but at most n
// of them. If n is negative, it returns all of them. If after is "", it begins with the first name. more
// reports whether there are further names.
func (s *Snapshot) Repositories(after string, n int) (names []string, more bool) {
	from := sort.Search(len(s.names), func(i int) bool { return s.names[i] > after })
	page := s.names[from:]
	if n >= 0 && n < len(page) {
		page, more = page[:n], true
	}
	return slices.Clone(page), more
}

// Problems returns the problems that are known so far. After [Snapshot.Check], these include
// manifests with a wrong size or a wrong digest. Problems also reads the current state of the files of
// quarantined copies, but only of a limited number of copies. The error is the cause of ctx.
func (s *Snapshot) Problems(ctx context.Context) ([]Problem, error) {
	all, err := s.collect(func(r *Repository) ([]Problem, error) { return r.quarantineProblems(ctx, r.problemsOfContent()) })
	if err != nil {
		return nil, err
	}
	if own := s.quarantine.problems(); len(own) > 0 {
		all = append(all, own...)
		sortProblems(all)
	}
	return all, nil
}

// ScanProblems returns only the problems that the scan found. An [Audit] finds the others.
func (s *Snapshot) ScanProblems() []Problem {
	all, _ := s.collect(func(r *Repository) ([]Problem, error) { return r.problems, nil }) // cannot fail: it reads nothing
	return all
}

// Hiding returns the problems that may hide repositories and tags. First comes a problem for each
// archive that cannot be read to its end, then one for each unreadable index.
func (s *Snapshot) Hiding() []Problem { return slices.Clone(s.hiding) }

// hiding selects the problems that may hide repositories and tags, one per archive or index.
func hiding(problems []Problem) (found []Problem) {
	seen := map[string]bool{}
	for _, ofArchive := range []bool{true, false} {
		for _, p := range problems {
			if p.TagsUnknown && ofArchive == (p.Entry == "") && !seen[p.Path] {
				seen[p.Path] = true
				found = append(found, p)
			}
		}
	}
	return found
}

func (s *Snapshot) collect(of func(*Repository) ([]Problem, error)) ([]Problem, error) {
	all := slices.Clone(s.problems)
	for _, path := range s.paths {
		found, err := of(s.byPath[path])
		if err != nil {
			return nil, err
		}
		if len(found) == 0 {
			continue
		}
		name := s.servedName(path)
		for _, p := range found {
			p.Repository, p.Layout = name, s.byPath[path].path
			all = append(all, p)
		}
	}
	sortProblems(all)
	return all, nil
}

// servedName returns the first name of the repository at path, or the path if it has no name.
func (s *Snapshot) servedName(path string) string {
	if name, ok := s.served[path]; ok {
		return name
	}
	return s.byPath[path].path
}
