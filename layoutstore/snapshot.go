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

// Snapshot is the tree as one scan found it. It does not change.
type Snapshot struct {
	generation uint64
	since      time.Time // when the generation was made
	dirs       []string
	roots      []string
	names      []string               // of repositories, sorted
	repos      map[string]*Repository // by name
	aliases    map[string]string      // current names of repositories, by the names that older tools gave them
	paths      []string               // of repositories, below the roots, sorted; keys of byPath
	byPath     map[string]*Repository // by [scope.key] of the path
	served     map[string]string      // first name of each repository, by path
	tags       int
	problems   []Problem // of the scan
	hiding     []Problem // problems of the scan that may hide repositories and tags
	sources    []SourceStatus
	objects    []SourceObjects
	quarantine *quarantine
}

// Generation counts the changes of the tree, from 1 on.
func (s *Snapshot) Generation() uint64 { return s.generation }

// Since is when the generation was made.
func (s *Snapshot) Since() time.Time { return s.since }

// Directories returns the directories to watch for changes of the tree: all directories of
// the sources except those of blobs.
func (s *Snapshot) Directories() []string { return slices.Clone(s.dirs) }

// Roots returns the paths below which the tree is served; "" stands for the bare paths.
func (s *Snapshot) Roots() []string { return slices.Clone(s.roots) }

// Sources returns the sources in their order, each archive in a directory before the
// directory itself.
func (s *Snapshot) Sources() []SourceStatus { return slices.Clone(s.sources) }

// SourceObjects are the objects of a source in a bucket.
type SourceObjects struct {
	Dir     string // the place, for messages
	Archive string // name of the archive if the source is one, or empty
	// Objects are the objects that the scan listed. If the source is an archive, they are all
	// objects of its place, not yet listed.
	Objects *volume.Objects
}

// Objects returns the objects of the sources in buckets that are not stores.
func (s *Snapshot) Objects() []SourceObjects { return slices.Clone(s.objects) }

// TagCount returns the number of tags in all repositories.
func (s *Snapshot) TagCount() int { return s.tags }

// RepositoryCount returns the number of repositories.
func (s *Snapshot) RepositoryCount() int { return len(s.names) }

// Repository returns the repository with a name, which includes the root, or with an alias:
// the name that older tools gave it. No list contains aliases. Errors: ErrNameInvalid,
// ErrRepositoryUnknown.
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

// Paths returns the paths of all repositories below the roots, sorted; "." is the root layout.
// Use them to copy a tree: names depend on the roots.
func (s *Snapshot) Paths() []string { return slices.Clone(s.paths) }

// At returns the repository at a path. Errors: ErrRepositoryUnknown.
func (s *Snapshot) At(path string) (*Repository, error) {
	if r := s.byPath[path]; r != nil {
		return r, nil
	}
	return nil, fmt.Errorf("%q: %w", path, ErrRepositoryUnknown)
}

// Repositories returns at most n names that follow after in byte order, or all of them if n is
// negative, and whether there are more. If after is empty, they begin with the first name.
func (s *Snapshot) Repositories(after string, n int) (names []string, more bool) {
	from := sort.Search(len(s.names), func(i int) bool { return s.names[i] > after })
	page := s.names[from:]
	if n >= 0 && n < len(page) {
		page, more = page[:n], true
	}
	return slices.Clone(page), more
}

// Problems returns the problems known so far. [Snapshot.Check] adds wrong sizes and digests of
// manifests. Problems of quarantined copies are compared with the present state of their files,
// up to a limit. The error is the cause of ctx.
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

// ScanProblems returns the problems found in the indexes alone. An [Audit] finds the rest.
func (s *Snapshot) ScanProblems() []Problem {
	all, _ := s.collect(func(r *Repository) ([]Problem, error) { return r.problems, nil }) // nothing is read
	return all
}

// Hiding returns the problems that may hide repositories and tags: one for each archive that
// cannot be read to its end, then one for each unreadable index.
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

// servedName returns the first name of the repository at path, or its path if it has none.
func (s *Snapshot) servedName(path string) string {
	if name, ok := s.served[path]; ok {
		return name
	}
	return s.byPath[path].path
}
