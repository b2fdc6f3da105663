package layoutstore

import (
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/discovery"
)

// discoveryImages is the list of all blobs of the discovery images in a repository. layoutproxy
// makes their content on demand, from the name alone.
type discoveryImages []discoveryBlob

// discoveryBlob is the manifest, the config or the layer of the discovery image called name.
type discoveryBlob struct {
	key  key
	name string
}

// add adds the discovery image with a name, and returns the descriptor of its manifest.
func (di *discoveryImages) add(name string, c *common) *entry {
	img := discovery.New(name)
	for _, b := range [][]byte{img.Config, img.Layer, img.Manifest} {
		k, _ := keyOf(digest.FromBytes(b))
		*di = append(*di, discoveryBlob{k, name})
	}
	c.mediaType = img.MediaType
	return &entry{key: (*di)[len(*di)-1].key, size: int64(len(img.Manifest)), tag: name, common: c}
}

// sort sorts the list by key, because find uses a binary search. It removes duplicates.
func (di *discoveryImages) sort() {
	slices.SortFunc(*di, func(a, b discoveryBlob) int { return a.key.compare(b.key) })
	*di = slices.Clone(slices.CompactFunc(*di, func(a, b discoveryBlob) bool { return a.key == b.key })) // remove duplicates: all images have the same layer
}

func (di discoveryImages) find(k key) (name string, ok bool) {
	i, ok := slices.BinarySearchFunc(di, k, func(b discoveryBlob, k key) int { return b.key.compare(k) })
	if !ok {
		return "", false
	}
	return di[i].name, true
}

// has reports whether a discovery image has a blob with this key.
func (di discoveryImages) has(k key) bool {
	_, ok := di.find(k)
	return ok
}

// content returns the content of the blob d of a discovery image.
func (di discoveryImages) content(d digest.Digest) ([]byte, bool) {
	k, _ := keyOf(d)
	name, ok := di.find(k)
	if !ok {
		return nil, false
	}
	img := discovery.New(name)
	for _, b := range [][]byte{img.Manifest, img.Config, img.Layer} {
		if digest.FromBytes(b) == d {
			return b, true
		}
	}
	return nil, false
}
