package prune

import (
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/inventory"
)

// ReadBundles reads the inventory files that KeepBundles lists, and sets Bundles. Its error
// contains the file name.
func (p *Policy) ReadBundles() error {
	p.Bundles = nil
	for _, name := range p.KeepBundles {
		b, err := readBundle(name)
		if err != nil {
			return fmt.Errorf("keep-bundle: %w: %w", ErrPolicy, err)
		}
		p.Bundles = append(p.Bundles, b)
	}
	return nil
}

func readBundle(name string) (Bundle, error) {
	b := Bundle{Name: name, Images: map[string]map[digest.Digest]bool{}}
	list, err := inventory.ReadFile(name)
	if err != nil {
		return b, err
	}
	for _, r := range list.Repositories {
		images := map[digest.Digest]bool{}
		for _, t := range r.Tags {
			images[t.Digest] = true
		}
		for _, m := range r.Untagged {
			images[m.Digest] = true
		}
		b.Images[r.Path] = images
	}
	return b, nil
}
