package push

import (
	"bufio"
	"fmt"
	"io"

	"github.com/dustin/go-humanize"
	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore"
)

// Outline is the printable form of a plan.
type Outline struct {
	Destination  string        `json:"destination"`
	Repositories []*Repository `json:"repositories"`
	Blobs        []BlobOutline `json:"blobs"`
	Totals       Totals        `json:"totals"`
	// LeftOut and NonDistributable are the same as in the plan.
	LeftOut          []layoutstore.Problem `json:"gaps"`
	NonDistributable []layoutstore.Problem `json:"nonDistributable,omitempty"`
	Notices          []string              `json:"notices,omitempty"` // notices of the plan
}

// BlobOutline is a blob of a plan, with the names of the repositories that get it.
type BlobOutline struct {
	Digest digest.Digest `json:"digest"`
	Size   int64         `json:"size"`
	// Upload is the repository into which the blob is uploaded.
	Upload string `json:"upload"`
	// Mount lists the repositories into which the blob is mounted.
	Mount []string `json:"mount"`
}

// Totals are the counts and sizes of a plan's content.
type Totals struct {
	Repositories  int `json:"repositories"`
	Tags          int `json:"tags"`
	DiscoveryTags int `json:"discoveryTags"`
	Manifests     int `json:"manifests"`
	Blobs         int `json:"blobs"`
	// Bytes is the total size of the blobs in bytes. Each blob counts once.
	Bytes int64 `json:"bytes"`
	// Mounts is the number of mounts into further repositories.
	Mounts int `json:"mounts"`
}

// Totals returns the totals of the plan.
func (p *Plan) Totals() Totals {
	t := Totals{Repositories: len(p.Repositories), Blobs: len(p.Blobs)}
	for _, r := range p.Repositories {
		t.Manifests += len(r.Manifests)
		for _, tag := range r.Tags {
			if tag.Discovery {
				t.DiscoveryTags++
			} else {
				t.Tags++
			}
		}
	}
	for _, b := range p.Blobs {
		t.Bytes += b.Size
		t.Mounts += len(b.Repositories) - 1
	}
	return t
}

// Outline returns the printable form of the plan.
func (p *Plan) Outline() Outline {
	o := Outline{Destination: p.Destination.String(), Repositories: append([]*Repository{}, p.Repositories...), Blobs: []BlobOutline{},
		Totals: p.Totals(), LeftOut: append([]layoutstore.Problem{}, p.LeftOut...), NonDistributable: p.NonDistributable, Notices: p.Notices}
	for _, b := range p.Blobs {
		out := BlobOutline{b.Digest, b.Size, b.Repositories[0].Name, []string{}}
		for _, r := range b.Repositories[1:] {
			out.Mount = append(out.Mount, r.Name)
		}
		o.Blobs = append(o.Blobs, out)
	}
	return o
}

// WriteText prints the plan for people.
func (p *Plan) WriteText(w io.Writer) error {
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "push to %s\n", p.Destination)
	for _, r := range p.Repositories {
		fmt.Fprintf(b, "\n%s\n", r.Name)
		for _, t := range r.Tags {
			kind := ""
			if t.Discovery {
				kind = "  discovery tag"
			}
			fmt.Fprintf(b, "  %-40s %s%s\n", t.Name, t.Digest, kind)
		}
		for _, m := range r.Manifests {
			if len(m.Tags) == 0 {
				fmt.Fprintf(b, "  %-40s %s\n", "(by digest)", m.Digest)
			}
		}
	}
	t := p.Totals()
	fmt.Fprintf(b, "\n%d repositories, %d tags and %d discovery tags, %d manifests\n", t.Repositories, t.Tags, t.DiscoveryTags, t.Manifests)
	fmt.Fprintf(b, "%d blobs (%s in total) to upload once each, and %d mounts\n", t.Blobs, humanize.Bytes(uint64(t.Bytes)), t.Mounts)
	for _, left := range p.LeftOut {
		fmt.Fprintf(b, "problem: %s\n", left)
	}
	for _, layer := range p.NonDistributable {
		fmt.Fprintf(b, "left out: %s\n", layer)
	}
	for _, notice := range p.Notices {
		fmt.Fprintf(b, "note: %s\n", notice)
	}
	return b.Flush()
}
