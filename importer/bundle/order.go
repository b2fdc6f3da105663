package bundle

import (
	"cmp"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/layoutstore/names"
)

type entry struct {
	name string // path below the root of the bundle, with slashes

	size int64 // bytes

	blob digest.Digest // digest of the blob to write; empty if the content is in data
	data []byte
}

// entriesOf returns the files of the layouts in the order of filepath.Walk. So blobs come before
// the index.json of their layout.
func entriesOf(layouts []*Layout) ([]entry, error) {
	var all []entry
	for _, l := range layouts {
		for _, b := range l.Blobs {
			all = append(all, entry{name: path.Join(l.Path, names.BlobPath(b.Digest)), size: b.Size, blob: b.Digest})
		}
		index, err := l.IndexJSON()
		if err != nil {
			return nil, err
		}
		for name, data := range map[string][]byte{specs.ImageIndexFile: index, specs.ImageLayoutFile: []byte(layoutMark)} {
			all = append(all, entry{name: path.Join(l.Path, name), size: int64(len(data)), data: data})
		}
	}
	slices.SortFunc(all, func(a, b entry) int { return walkOrder(a.name, b.name) })
	return all, nil
}

// walkOrder compares two paths as filepath.Walk orders them. Walk sorts the names in each
// directory: "a/b" comes before "a-b", because "a" comes before "a-b".
func walkOrder(a, b string) int {
	for {
		nameA, restA, moreA := strings.Cut(a, "/")
		nameB, restB, moreB := strings.Cut(b, "/")
		if nameA != nameB {
			return strings.Compare(nameA, nameB)
		}
		if !moreA || !moreB {
			return cmp.Compare(len(a), len(b))
		}
		a, b = restA, restB
	}
}
