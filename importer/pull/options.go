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

// Options say what to pull, from where, and into which directory.
type Options struct {
	Registry *client.Client
	Source   client.Reference // REGISTRY/PATH
	Dir      string           // of the bundle
	TempDir  string           // where blobs are kept until they are in the bundle; in Dir if empty

	Planner  Planner   // chooses what is pulled
	Platform *Platform // keep only this image of an index; nil keeps indexes

	Tree      bool             // directories in place of archives
	ChunkSize int64            // bytes per chunk; 0 does not split archives
	NewSum    func() hash.Hash // of the .gostsum beside each file; nil for none
	NoResume  bool             // start over, and discard what an interrupted pull has left
	Jobs      int              // blobs and manifests at once, 4 if 0
	// Program is the program, with its version, that the bundle's inventory names as its
	// creator.
	Program string
	// SignKey signs the inventory. If it is nil, the bundle is not signed.
	SignKey *inventory.SigningKey
	// AllowIncomplete publishes everything complete even if the rest is not: see
	// Plan.Problems.
	AllowIncomplete bool

	reached func(point string) // called where a crash would be worst, if not nil
}

// ErrUsage says that options contradict each other or are malformed.
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

// Platform is what an image runs on.
type Platform struct{ OS, Architecture, Variant string }

// ParsePlatform reads OS/ARCH or OS/ARCH/VARIANT.
func ParsePlatform(s string) (*Platform, error) {
	part := strings.Split(s, "/")
	if len(part) < 2 || len(part) > 3 || part[0] == "" || part[1] == "" {
		return nil, Usage("platform %q: OS/ARCH, as linux/amd64", s)
	}
	p := &Platform{OS: part[0], Architecture: part[1]}
	if len(part) == 3 {
		p.Variant = part[2]
	}
	return p, nil
}

func (p *Platform) spec() *specs.Platform {
	return &specs.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant}
}

func (p Platform) String() string {
	s := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	return s
}
