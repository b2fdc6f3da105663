package pull

import (
	"fmt"
	"path"
	"slices"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/importer/bundle"
	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
	"github.com/layoutproxy/layoutproxy/layoutstore/inventory"
)

// Plan is the content that a pull fetches and writes.
type Plan struct {
	Source string `json:"source"`
	// Archives are sorted by name.
	Archives []*bundle.Archive `json:"archives"`
	// Components say what was chosen, and why. They are for people.
	Components []*Component `json:"components"`
	// Files are written beside the archives: no registry serves them.
	Files []PlannedFile `json:"files,omitempty"`
	// Missing is optional content that is missing in the source.
	Missing []Problem `json:"missing"`
	// Problems are required content that is missing or damaged in the source. The list is empty
	// unless the pull may be incomplete. No planned image needs this content.
	Problems []Problem `json:"holes"`

	optional map[*bundle.Layout]bool // whether a layout is skipped if any of its content is missing
	outdated []string                // names of files that an older bundle may have, and that are removed
}

// PlannedFile is a file that is written beside the archives.
type PlannedFile struct {
	Name string `json:"name"`
	Size int64  `json:"size"` // bytes

	data []byte
}

// Component is a part of a product that people know by name.
type Component struct {
	Name     string   `json:"name"`
	Archives []string `json:"archives"`
	Versions []string `json:"versions,omitempty"`
	// Channels maps release channels to the versions that they point at.
	Channels map[string]string `json:"channels,omitempty"`
	// Images is the number of manifests that the component's indexes list.
	Images int `json:"images"`
	// Bytes is the size of the component's archives in bytes.
	Bytes int64 `json:"bytes"`
	// Notes say what was left out, and why.
	Notes []string `json:"notes,omitempty"`
}

// Note adds a note for people.
func (c *Component) Note(format string, args ...any) {
	c.Notes = append(c.Notes, fmt.Sprintf(format, args...))
}

// Point records, for people, which version a release channel points at.
func (c *Component) Point(channel, version string) {
	if c.Channels == nil {
		c.Channels = map[string]string{}
	}
	c.Channels[channel] = version
}

// Blobs returns the number and the total size of the blobs in the plan's archives. A blob that
// several layouts share counts once.
func (p *Plan) Blobs() (blobs int, size int64) {
	seen := map[digest.Digest]bool{}
	for _, a := range p.Archives {
		for _, l := range a.Layouts {
			for _, b := range l.Blobs {
				if !seen[b.Digest] {
					seen[b.Digest] = true
					blobs++
					size += b.Size
				}
			}
		}
	}
	return blobs, size
}

// Images returns the number of manifests that the planned indexes list.
func (p *Plan) Images() (n int) {
	for _, a := range p.Archives {
		n += a.CountImages()
	}
	return n
}

// isSpare reports whether only optional layouts need a blob.
func (p *Plan) isSpare(blob digest.Digest) bool {
	for _, a := range p.Archives {
		for _, l := range a.Layouts {
			if !p.optional[l] && slices.ContainsFunc(l.Blobs, func(b closure.Descriptor) bool { return b.Digest == blob }) {
				return false
			}
		}
	}
	return true
}

// names returns the names of all files that the plan decides about: the archives or, for a tree, the indexes, and
// the files beside them.
func (p *Plan) names(tree bool) map[string]bool {
	all := map[string]bool{inventory.Name: true, inventory.SignatureName: true}
	for _, a := range p.Archives {
		if !tree {
			all[a.Name] = true
			continue
		}
		for _, l := range a.Layouts {
			all[path.Join(l.Path, specs.ImageIndexFile)] = true
		}
	}
	for _, f := range p.Files {
		all[f.Name] = true
	}
	for _, name := range p.outdated {
		all[name] = true
	}
	return all
}
