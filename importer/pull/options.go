package pull

import (
	"errors"
	"fmt"
	"hash"
	"strings"

	specs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/importer/bundle"
	"github.com/layoutproxy/layoutproxy/layoutstore/inventory"
	"github.com/layoutproxy/layoutproxy/registry/client"
)

// Options configure a pull.
type Options struct {
	Registry *client.Client
	// Source is the registry and path that are pulled, as REGISTRY/PATH.
	Source client.Reference
	// Dir is the directory of the bundle.
	Dir string
	// TempDir keeps fetched blobs until they are in the bundle. If TempDir is "", Dir keeps them.
	TempDir string

	// Planner chooses the content.
	Planner Planner
	// Platform is the only platform whose images are kept. If it is nil, indexes are kept.
	Platform *Platform

	// Tree means that layouts are written as directories, not as archives.
	Tree bool
	// ChunkSize is the size of chunks in bytes; 0 means that archives are not split.
	ChunkSize int64
	// NewSum returns the hash for the .gostsum files. If it is nil, the bundle has no such files.
	NewSum func() hash.Hash
	// NoResume discards the state of an interrupted pull and starts over.
	NoResume bool
	// Jobs is the number of blobs and manifests that are fetched at the same time; 0 means 4.
	Jobs int

	// Program is the name and version of the program that the inventory lists as the bundle's
	// creator.
	Program string
	// SignKey signs the inventory. If it is nil, the inventory is not signed.
	SignKey *inventory.SigningKey
	// AllowIncomplete publishes all complete content even if other content is missing: see Plan.
	AllowIncomplete bool

	reached func(point string) // called at each point where tests kill a pull; nil outside of tests
}

// ErrUsage reports options that contradict each other or are malformed.
var ErrUsage = errors.New("wrong usage")

// Usage returns an error that wraps [ErrUsage] and has a message.
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
		return Usage("a tree cannot have chunks or checksum files")
	}
	if o.Planner == nil {
		return Usage("no planner: nothing to pull")
	}
	return o.Planner.Check(o.Source)
}

// form is the form of the archives.
func (o *Options) form() bundle.Form { return bundle.Form{ChunkSize: o.ChunkSize, NewSum: o.NewSum} }

// Platform is the platform of an image.
type Platform specs.Platform

// ParsePlatform parses OS/ARCH or OS/ARCH/VARIANT. It fails with ErrUsage.
func ParsePlatform(s string) (*Platform, error) {
	part := strings.Split(s, "/")
	if len(part) < 2 || len(part) > 3 || part[0] == "" || part[1] == "" {
		return nil, Usage("malformed platform %q: use OS/ARCH, for example linux/amd64", s)
	}
	return &Platform{OS: part[0], Architecture: part[1], Variant: strings.Join(part[2:], "")}, nil
}

func (p Platform) String() string {
	return strings.TrimSuffix(p.OS+"/"+p.Architecture+"/"+p.Variant, "/")
}
