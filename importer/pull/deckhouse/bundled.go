package deckhouse

import (
	"fmt"

	"github.com/layoutproxy/layoutproxy/importer/release"
)

// bundled are the releases in a bundle that a plugin's contract can require.
type bundled struct {
	platform []release.Release
	modules  map[string][]release.Release
}

// findUnmet returns the reason why a bundle does not meet the requirements of a contract, or the
// empty string if the bundle meets them. It ignores requirements that depend on the cluster: the
// Kubernetes version, modules that must not be installed, and conditional requirements. It ignores
// the required platform version if the bundle has no platform.
func (b *bundled) findUnmet(c *release.Contract) string {
	modules := &c.Requirements.Modules
	for _, r := range modules.Mandatory {
		ok, err := r.FitsAny(b.modules[r.Name])
		if err != nil {
			return err.Error()
		}
		if !ok {
			return fmt.Sprintf("requires module %s, but the bundle has %s", r, release.Tags(b.modules[r.Name]))
		}
	}
	for _, g := range modules.AnyOf {
		fits := false
		for _, r := range g.Members() {
			ok, err := r.FitsAny(b.modules[r.Name])
			if err != nil {
				return err.Error()
			}
			fits = fits || ok
		}
		if !fits {
			return fmt.Sprintf("requires a module of the group %q, but the bundle has none that fits", g.Name)
		}
	}
	platform := release.Requirement{Name: "Deckhouse", Constraint: c.Requirements.Deckhouse.Constraint}
	ok, err := platform.FitsAny(b.platform)
	if err != nil {
		return err.Error()
	}
	if !ok && len(b.platform) > 0 && platform.Constraint != "" {
		return fmt.Sprintf("requires %s, but the bundle has %s", platform, release.Tags(b.platform))
	}
	return ""
}

// findConflicts returns the reasons why a cluster could refuse a plugin.
func (b *bundled) findConflicts(c *release.Contract) (all []string) {
	for _, g := range c.Requirements.Modules.NoneOf {
		for _, r := range g.Members() {
			if ok, err := r.FitsAny(b.modules[r.Name]); ok && err == nil {
				all = append(all, fmt.Sprintf("it conflicts with module %s, but the bundle has %s", r, release.Tags(b.modules[r.Name])))
			}
		}
	}
	for _, r := range c.Requirements.Modules.Conditional {
		if have := b.modules[r.Name]; len(have) > 0 {
			if ok, err := r.FitsAny(have); !ok || err != nil {
				all = append(all, fmt.Sprintf("if module %s is installed, it requires %s, but the bundle has %s", r.Name, r, release.Tags(have)))
			}
		}
	}
	return all
}
