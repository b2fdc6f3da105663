package prune

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/importer/release"
	"github.com/layoutproxy/layoutproxy/layoutstore/names"
)

// Policy is the set of rules of a prune. An image is kept if at least one rule keeps it.
type Policy struct {
	KeepReleases []string `json:"keepReleases,omitempty" yaml:"keep-release"` // versions of the platform to keep

	Deployed     string   `json:"deployed,omitempty" yaml:"deployed"` // version of the platform in the cluster; empty if unknown
	KeepPrevious int      `json:"keepPrevious,omitempty" yaml:"keep-previous"`
	KeepNewest   int      `json:"keepNewest,omitempty" yaml:"keep-newest"` // number of versions to keep per repository
	KeepBundles  []string `json:"keepBundles,omitempty" yaml:"keep-bundle"`
	Keep         []string `json:"keep,omitempty" yaml:"keep"` // globs for images to keep, as REPOSITORY or REPOSITORY:TAG

	// OlderThan keeps images that were added to the store less than this duration ago.
	OlderThan time.Duration `json:"olderThan,omitempty" yaml:"older-than"`

	// Bundles has the content of the inventories that KeepBundles names.
	Bundles []Bundle `json:"-" yaml:"-"`
}

// Bundle lists the images in an inventory.
type Bundle struct {
	Name string
	// Images has the digests of the images, by the path of their repository.
	Images map[string]map[digest.Digest]bool
}

// Errors that a policy can cause.
var (
	ErrNoRule     = errors.New("the policy has no rule that says what to keep")
	ErrPolicy     = errors.New("malformed rule")
	ErrNoRelease  = errors.New("the store does not have this version of the platform")
	ErrNoDeployed = errors.New("the deployed version is unknown")
)

// IsEmpty reports whether the policy has no rule.
func (p Policy) IsEmpty() bool {
	return len(p.KeepReleases)+len(p.KeepBundles)+len(p.Keep) == 0 && p.Deployed == "" && p.KeepNewest == 0 && p.OlderThan == 0 && p.KeepPrevious == 0
}

// Check returns an error if the policy has no rule (ErrNoRule), a malformed rule (ErrPolicy), or KeepPrevious
// without Deployed (ErrNoDeployed).
func (p Policy) Check() error {
	if p.KeepPrevious != 0 && p.Deployed == "" {
		return fmt.Errorf("keep-previous: %w", ErrNoDeployed)
	}
	if p.IsEmpty() {
		return ErrNoRule
	}
	for name, n := range map[string]int{"keep-previous": p.KeepPrevious, "keep-newest": p.KeepNewest} {
		if n < 0 {
			return fmt.Errorf("%s %d: %w: not a positive number", name, n, ErrPolicy)
		}
	}
	if p.OlderThan < 0 {
		return fmt.Errorf("older-than %s: %w: not a positive duration", p.OlderThan, ErrPolicy)
	}
	for _, v := range append(slices.Clone(p.KeepReleases), p.Deployed) {
		if _, ok := release.Parse(v); !ok && v != "" {
			return fmt.Errorf("%q: %w: not a version such as v1.69.3", v, ErrPolicy)
		}
	}
	for _, glob := range p.Keep {
		if _, err := path.Match(strings.ReplaceAll(glob, "**", "*"), "x"); err != nil || glob == "" {
			return fmt.Errorf("%q: %w: malformed glob", glob, ErrPolicy)
		}
	}
	return nil
}

// matchesGlob reports whether a glob matches a tag of a repository. The glob is REPOSITORY or
// REPOSITORY:TAG. REPOSITORY follows the rules of [names.MatchGlob].
func matchesGlob(glob, repository, tag string) bool {
	at, wanted, hasTag := strings.Cut(glob, ":")
	if hasTag {
		if ok, err := path.Match(wanted, tag); err != nil || !ok {
			return false
		}
	}
	return names.MatchGlob(strings.Trim(at, "/"), repository)
}
