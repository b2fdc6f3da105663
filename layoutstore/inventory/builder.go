package inventory

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Builder collects the content of an inventory. The zero value is ready to use.
type Builder struct {
	files []File
	repos map[string]*building
	blobs map[digest.Digest]int64
}

// building collects the content of one repository.
type building struct {
	tags     map[string]Blob
	untagged map[digest.Digest]int64
}

// AddFile adds a file of the bundle.
func (b *Builder) AddFile(f File) { b.files = append(b.files, f) }

// AddRepository adds a repository without tags, unless it exists.
func (b *Builder) AddRepository(path string) { b.repository(path) }

func (b *Builder) repository(path string) *building {
	if b.repos == nil {
		b.repos = map[string]*building{}
	}
	r := b.repos[path]
	if r == nil {
		r = &building{map[string]Blob{}, map[digest.Digest]int64{}}
		b.repos[path] = r
	}
	return r
}

// AddTag adds a tag and its manifest. If the tag exists, its earlier manifest becomes untagged.
func (b *Builder) AddTag(path, tag string, m Blob) {
	r := b.repository(path)
	if old, ok := r.tags[tag]; ok && old.Digest != m.Digest {
		b.AddUntagged(path, old)
	}
	r.tags[tag] = m
	b.AddBlob(m)
}

// AddUntagged adds a manifest that an index.json contains. It is listed as untagged if it has no tag.
func (b *Builder) AddUntagged(path string, m Blob) {
	b.repository(path).untagged[m.Digest] = m.Size
	b.AddBlob(m)
}

// AddBlob adds a blob or a manifest.
func (b *Builder) AddBlob(blob Blob) {
	if b.blobs == nil {
		b.blobs = map[digest.Digest]int64{}
	}
	b.blobs[blob.Digest] = blob.Size
}

// Build returns the inventory. program is the name and version of the program that writes it. Build
// fails if something cannot be listed, such as an illegal tag.
func (b *Builder) Build(program string) (*Inventory, error) {
	i := &Inventory{FormatVersion: formatVersion, Bases: []digest.Digest{}, Program: program, Files: append([]File{}, b.files...), Repositories: []Repository{}, Blobs: sorted(b.blobs)}
	for path, r := range b.repos {
		repo := Repository{Path: path, Tags: []Tag{}}
		for name, m := range r.tags {
			repo.Tags = append(repo.Tags, Tag{name, m.Digest, m.Size})
			delete(r.untagged, m.Digest)
		}
		slices.SortFunc(repo.Tags, func(a, b Tag) int { return strings.Compare(a.Name, b.Name) })
		if len(r.untagged) > 0 {
			repo.Untagged = sorted(r.untagged)
		}
		i.Repositories = append(i.Repositories, repo)
	}
	slices.SortFunc(i.Repositories, func(a, b Repository) int { return strings.Compare(a.Path, b.Path) })
	slices.SortFunc(i.Files, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	i.Bundle = i.ID()
	if err := i.check(); err != nil {
		return nil, fmt.Errorf("inventory: %w", err)
	}
	return i, nil
}

func sorted(blobs map[digest.Digest]int64) []Blob {
	all := make([]Blob, 0, len(blobs))
	for d, size := range blobs {
		all = append(all, Blob{d, size})
	}
	slices.SortFunc(all, func(a, b Blob) int { return cmp.Compare(a.Digest, b.Digest) })
	return all
}
