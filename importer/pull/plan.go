package pull

import (
	"fmt"
	"path"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/importer/bundle"
	"github.com/layoutproxy/layoutproxy/layoutstore/inventory"
)

// Plan is the content that a pull fetches and writes.
type Plan struct {
	Source     string            `json:"source"`
	Archives   []*bundle.Archive `json:"archives"`   // sorted by name
	Components []*Component      `json:"components"` // for people: the chosen content, and the reasons
	// Files are written beside the archives: no registry serves them.
	Files []PlannedFile `json:"files,omitempty"`
	// Missing is optional content that the source does not have.
	Missing []Problem `json:"missing"`
	// Problems are required content that is missing or damaged in the source, in a pull that may
	// be incomplete. No planned image leads to it.
	Problems []Problem `json:"holes"`
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
	// Channels are release channels and the version that each points at.
	Channels map[string]string `json:"channels,omitempty"`
	Images   int               `json:"images"`          // number of manifests that indexes name
	Bytes    int64             `json:"bytes"`           // of its archives
	Notes    []string          `json:"notes,omitempty"` // what was left out, and why
}

// Note adds a note for people.
func (c *Component) Note(format string, args ...any) {
	c.Notes = append(c.Notes, fmt.Sprintf(format, args...))
}

// Point notes, for people, which version a release channel points at.
func (c *Component) Point(channel, version string) {
	if c.Channels == nil {
		c.Channels = map[string]string{}
	}
	c.Channels[channel] = version
}

// Blobs returns how many blobs and bytes the plan's archives contain. Content that several
// layouts share counts once.
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

// Images returns the number of manifests that the indexes name.
func (p *Plan) Images() (n int) {
	for _, a := range p.Archives {
		n += a.CountImages()
	}
	return n
}

// names returns the names of everything planned: archives, indexes and files beside
// them.
func (p *Plan) names() map[string]bool {
	all := map[string]bool{inventory.Name: true, inventory.SignatureName: true}
	for _, a := range p.Archives {
		all[a.Name] = true
		for _, l := range a.Layouts {
			all[path.Join(l.Path, specs.ImageIndexFile)] = true
		}
	}
	for _, f := range p.Files {
		all[f.Name] = true
	}
	return all
}
