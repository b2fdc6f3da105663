package inventory

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Comparison is the result of comparing two inventories.
type Comparison struct {
	A           digest.Digest `json:"a"` // their ids
	B           digest.Digest `json:"b"`
	Differences []Difference  `json:"differences"`
}

// Difference is something that only one of two inventories lists, or that they list differently.
type Difference struct {
	// What is "tag", "untagged", "blob", "archive" or "file".
	What       string `json:"what"`
	Repository string `json:"repository,omitempty"`
	Name       string `json:"name"`        // a tag, a digest or the name of a file
	A          string `json:"a,omitempty"` // what it is in each of them; empty if it is missing there
	B          string `json:"b,omitempty"`
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

// Compare compares two inventories: tags, untagged manifests, blobs, and files if both list
// some. Archives are equal if they have the same size and no checksums that contradict each
// other: the same archive may be cut into other chunks. Checksum files, programs, bases and keys
// do not count.
func Compare(a, b *Inventory) Comparison {
	c := Comparison{A: a.Bundle, B: b.Bundle, Differences: []Difference{}}
	add := func(what string) func(string, string, string) {
		return func(key, x, y string) {
			repository, name, ok := strings.Cut(key, " ")
			if !ok {
				repository, name = "", key
			}
			c.Differences = append(c.Differences, Difference{what, repository, name, x, y})
		}
	}
	compareMaps(tagsOf(a), tagsOf(b), add("tag"))
	compareMaps(untaggedOf(a), untaggedOf(b), add("untagged"))
	compareMaps(blobsOf(a.Blobs, ""), blobsOf(b.Blobs, ""), add("blob"))
	if len(a.Files) > 0 && len(b.Files) > 0 {
		c.files(a, b)
	}
	return c
}

// compareMaps reports the keys with different values, sorted.
func compareMaps(a, b map[string]string, report func(key, a, b string)) {
	var keys []string
	for key := range a {
		keys = append(keys, key)
	}
	for key := range b {
		if _, ok := a[key]; !ok {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	for _, key := range keys {
		if a[key] != b[key] {
			report(key, a[key], b[key])
		}
	}
}

// tagsOf returns the tags by "PATH TAG".
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
		for key, size := range blobsOf(r.Untagged, r.Path+" ") {
			all[key] = size
		}
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

// files compares archives and other files.
func (c *Comparison) files(a, b *Inventory) {
	archivesA, othersA := Archives(a.Files)
	archivesB, othersB := Archives(b.Files)
	add := func(what, name, x, y string) { c.Differences = append(c.Differences, Difference{what, "", name, x, y}) }
	compareLists(archivesA, archivesB, func(a *Archive) string { return a.Name }, func(name string, x, y *Archive) {
		switch {
		case y == nil:
			add("archive", name, inBytes(x.Size), "")
		case x == nil:
			add("archive", name, "", inBytes(y.Size))
		case x.Size != y.Size:
			add("archive", name, inBytes(x.Size), inBytes(y.Size))
		default:
			c.sums(x.Files, y.Files)
		}
	})
	noSums := func(f File) bool { return isChecksum(f.Name) }
	compareLists(pointers(slices.DeleteFunc(othersA, noSums)), pointers(slices.DeleteFunc(othersB, noSums)), func(f *File) string { return f.Name }, func(name string, x, y *File) {
		switch {
		case y == nil:
			add("file", name, inBytes(x.Size), "")
		case x == nil:
			add("file", name, "", inBytes(y.Size))
		case x.Size != y.Size:
			add("file", name, inBytes(x.Size), inBytes(y.Size))
		default:
			c.sums([]File{*x}, []File{*y})
		}
	})
}

// sums compares the checksums of two lists of files, if both are cut in the same way.
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

func pointers(files []File) (all []*File) {
	for n := range files {
		all = append(all, &files[n])
	}
	return all
}

// compareLists calls do for each key in one of two lists, sorted; nil stands for a missing
// element.
func compareLists[T any](a, b []*T, key func(*T) string, do func(key string, x, y *T)) {
	byKey := map[string][2]*T{}
	for _, v := range a {
		byKey[key(v)] = [2]*T{v, nil}
	}
	for _, v := range b {
		byKey[key(v)] = [2]*T{byKey[key(v)][0], v}
	}
	keys := make([]string, 0, len(byKey))
	for k := range byKey {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, cmp.Compare[string])
	for _, k := range keys {
		do(k, byKey[k][0], byKey[k][1])
	}
}
