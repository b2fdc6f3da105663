package inventory

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Comparison is the result of comparing two inventories.
type Comparison struct {
	A           digest.Digest `json:"a"` // ids of the two inventories
	B           digest.Digest `json:"b"`
	Differences []Difference  `json:"differences"`
}

// Difference is an item that only one of two inventories lists, or that they list differently.
type Difference struct {
	// What is "tag", "untagged", "blob", "archive" or "file".
	What       string `json:"what"`
	Repository string `json:"repository,omitempty"`
	Name       string `json:"name"`        // a tag, a digest or a file name
	A          string `json:"a,omitempty"` // digest, size or checksum in A; empty if A does not list the item
	B          string `json:"b,omitempty"` // digest, size or checksum in B; empty if B does not list the item
}

// String returns the difference on one line.
func (d Difference) String() string {
	name := d.Name
	if d.Repository != "" {
		name = d.Repository + ":" + name
		if d.What == "untagged" {
			name = d.Repository + "@" + d.Name
		}
	}
	switch {
	case d.B == "":
		return fmt.Sprintf("only in A: %s %s: %s", d.What, name, d.A)
	case d.A == "":
		return fmt.Sprintf("only in B: %s %s: %s", d.What, name, d.B)
	}
	return fmt.Sprintf("differs: %s %s: A has %s, B has %s", d.What, name, d.A, d.B)
}

// Compare compares the tags, untagged manifests and blobs of two inventories. If both list files,
// it also compares files. Archives are equal if their sizes are equal, and no checksums differ;
// chunks need not be the same. Compare ignores checksum files, programs, bases and keys.
func Compare(a, b *Inventory) Comparison {
	c := Comparison{A: a.Bundle, B: b.Bundle, Differences: []Difference{}}
	c.maps("tag", tagsOf(a), tagsOf(b))
	c.maps("untagged", untaggedOf(a), untaggedOf(b))
	c.maps("blob", blobsOf(a.Blobs, ""), blobsOf(b.Blobs, ""))
	if len(a.Files) > 0 && len(b.Files) > 0 {
		archivesA, othersA := Archives(a.Files)
		archivesB, othersB := Archives(b.Files)
		c.archives("archive", archivesA, archivesB)
		c.archives("file", eachAlone(othersA), eachAlone(othersB))
	}
	return c
}

// maps adds a difference for each key with different values. A key is "REPOSITORY NAME" or "NAME".
func (c *Comparison) maps(what string, a, b map[string]string) {
	for _, key := range keysOf(a, b) {
		repository, name, ok := strings.Cut(key, " ")
		if !ok {
			repository, name = "", key
		}
		if a[key] != b[key] {
			c.Differences = append(c.Differences, Difference{what, repository, name, a[key], b[key]})
		}
	}
}

// keysOf returns the keys of two maps, sorted and without duplicates.
func keysOf[T any](a, b map[string]T) []string {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return slices.Sorted(maps.Keys(all))
}

// tagsOf returns the digests of tags, by "PATH TAG".
func tagsOf(i *Inventory) map[string]string {
	all := map[string]string{}
	for _, r := range i.Repositories {
		for _, t := range r.Tags {
			all[r.Path+" "+t.Name] = t.Digest.String()
		}
	}
	return all
}

func untaggedOf(i *Inventory) map[string]string {
	all := map[string]string{}
	for _, r := range i.Repositories {
		maps.Copy(all, blobsOf(r.Untagged, r.Path+" "))
	}
	return all
}

func blobsOf(blobs []Blob, prefix string) map[string]string {
	all := make(map[string]string, len(blobs))
	for _, b := range blobs {
		all[prefix+b.Digest.String()] = inBytes(b.Size)
	}
	return all
}

func inBytes(n int64) string { return fmt.Sprintf("%d bytes", n) }

// archives compares two lists of archives. Callers pass any other file as an archive of this one file.
func (c *Comparison) archives(what string, a, b []*Archive) {
	inA, inB := byName(a), byName(b)
	for _, name := range keysOf(inA, inB) {
		x, y := inA[name], inB[name]
		if sizeX, sizeY := x.inBytes(), y.inBytes(); sizeX != sizeY {
			c.Differences = append(c.Differences, Difference{what, "", name, sizeX, sizeY})
		} else {
			c.sums(x.Files, y.Files)
		}
	}
}

// eachAlone returns an archive of one file for each file that is not a checksum file.
func eachAlone(files []File) (all []*Archive) {
	for _, f := range files {
		if !isChecksum(f.Name) {
			all = append(all, &Archive{f.Name, f.Size, []File{f}})
		}
	}
	return all
}

// inBytes returns the size of an archive as text. The text is empty if a is nil.
func (a *Archive) inBytes() string {
	if a == nil {
		return ""
	}
	return inBytes(a.Size)
}

// sums compares the checksums of two lists of files, if both have the same names and sizes.
func (c *Comparison) sums(a, b []File) {
	if !slices.EqualFunc(a, b, func(x, y File) bool { return x.Name == y.Name && x.Size == y.Size }) {
		return
	}
	for n := range a {
		if x, y := a[n].SHA256, b[n].SHA256; x != "" && y != "" && x != y {
			c.Differences = append(c.Differences, Difference{"file", "", a[n].Name, "sha256:" + x, "sha256:" + y})
		}
	}
}
