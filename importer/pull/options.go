package pull

import (
	"errors"
	"fmt"
	"hash"
	"strings"

	specs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/layoutstore/inventory"
	"github.com/layoutproxy/layoutproxy/registry/client"
)

// Options configure a pull.
type Options struct {
	Registry *client.Client
	Source   client.Reference // REGISTRY/PATH
	Dir      string           // of the bundle
	TempDir  string           // of fetched blobs until they are in the bundle; in Dir if empty

	Planner  Planner   // chooses the content
	Platform *Platform // keep only this image of an index; nil keeps indexes

	Tree      bool             // write layouts as directories, not as archives
	ChunkSize int64            // bytes per chunk; 0 does not split archives
	NewSum    func() hash.Hash // of the .gostsum beside each file; nil for none
	NoResume  bool             // start over, and discard the state of an interrupted pull
	Jobs      int              // blobs and manifests that are fetched at once; 4 if 0

	Program         string                // creator of the bundle's inventory: a program and its version
	SignKey         *inventory.SigningKey // signs the inventory; nil does not sign
	AllowIncomplete bool                  // publish everything complete even if the rest is not: see Plan.Problems

	reached func(point string) // called at each point where tests kill a pull; may be nil
}

// ErrUsage reports options that contradict each other or are malformed.
var ErrUsage = errors.New("wrong usage")

// Usage returns an [ErrUsage] with a text.
func Usage(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrUsage, fmt.Errorf(format, args...))
}

func (o *Options) check() error {
	if o.Jobs <= 0 {
		o.Jobs = 4
	}
	if o.Program == "" {
		o.Program = "layoutproxy"
	}
	if o.ChunkSize < 0 {
		return Usage("chunk size %d is negative", o.ChunkSize)
	}
	if o.Tree && (o.ChunkSize > 0 || o.NewSum != nil) {
		return Usage("a tree has neither chunks nor checksum files")
	}
	if o.Planner == nil {
		return Usage("no planner: nothing to pull")
	}
	return o.Planner.Check(o.Source)
}

// Platform is the platform of an image.
type Platform specs.Platform

// ParsePlatform reads OS/ARCH or OS/ARCH/VARIANT. Errors: ErrUsage.
func ParsePlatform(s string) (*Platform, error) {
	part := strings.Split(s, "/")
	if len(part) < 2 || len(part) > 3 || part[0] == "" || part[1] == "" {
		return nil, Usage("malformed platform %q: name OS/ARCH, as linux/amd64", s)
	}
	return &Platform{OS: part[0], Architecture: part[1], Variant: strings.Join(part[2:], "")}, nil
}

func (p Platform) String() string {
	return strings.TrimSuffix(p.OS+"/"+p.Architecture+"/"+p.Variant, "/")
}
