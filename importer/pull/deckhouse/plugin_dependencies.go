package deckhouse

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/layoutproxy/layoutproxy/importer/release"
)

// chooseNeeded adds to a trial the plugins that a contract requires, directly or through other
// plugins. A trial is a list of plugins that may still be discarded. If a requirement cannot be
// met, chooseNeeded returns the reason. path lists the plugins that led to the contract.
func (r *chooser) chooseNeeded(ctx context.Context, c *release.Contract, trial []chosenPlugin, path []string, strict bool) (_ []chosenPlugin, reason string, err error) {
	for _, want := range c.Requirements.Plugins.Mandatory {
		switch {
		case !release.IsName(want.Name):
			return nil, fmt.Sprintf("needs plugin %q: malformed name", want.Name), nil
		case slices.Contains(path, want.Name):
			return nil, "plugins need each other in a circle: " + strings.Join(append(slices.Clone(path), want.Name), " → "), nil
		case len(path) > maxDependencies:
			return nil, fmt.Sprintf("the chain of required plugins is longer than %d: %s", maxDependencies, strings.Join(path, " → ")), nil
		}
		shared, err := r.isMetByChosen(want, trial)
		if err != nil {
			return nil, err.Error(), nil
		}
		if shared {
			continue
		}
		if trial, reason, err = r.chooseFor(ctx, want, trial, path, strict); err != nil || reason != "" {
			return nil, fmt.Sprintf("needs plugin %s: %s", want, reason), err
		}
	}
	return trial, "", nil
}

// isMetByChosen reports whether a chosen plugin or a plugin of the trial meets a requirement.
func (r *chooser) isMetByChosen(want release.Requirement, trial []chosenPlugin) (bool, error) {
	for _, p := range slices.Concat(r.choice.chosen, trial) {
		if p.name != want.Name || p.release.Version == nil && want.Constraint != "" {
			continue
		}
		if want.Constraint == "" {
			return true, nil
		}
		if ok, err := want.Fits(p.release.Version); ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}

// chooseFor adds to a trial the newest version that meets a requirement.
func (r *chooser) chooseFor(ctx context.Context, want release.Requirement, trial []chosenPlugin, path []string, strict bool) (with []chosenPlugin, reason string, err error) {
	versions, err := r.catalog.versions(ctx, want.Name)
	switch {
	case isUnreadable(err):
		return nil, err.Error(), nil
	case err != nil:
		return nil, "", err
	}
	var fitting []release.Release
	for _, v := range versions {
		ok, err := want.Fits(v.Version)
		if err != nil {
			return nil, err.Error(), nil
		}
		if ok {
			fitting = append(fitting, v)
		}
	}
	reason, err = tryNewestFirst(fitting, func(v release.Release) (against string, err error) {
		if r.tries++; r.tries > maxTries {
			return "", fmt.Errorf("plugins: gave up after trying %d versions that need each other: choose exact versions with --include-plugin NAME@=VERSION", maxTries)
		}
		with, against, err = r.tryVersion(ctx, want, v, trial, path, strict)
		return against, err
	})
	return with, reason, err
}

// tryVersion adds to a trial one version of a plugin and the plugins that it needs.
func (r *chooser) tryVersion(ctx context.Context, want release.Requirement, v release.Release, trial []chosenPlugin, path []string, strict bool) (_ []chosenPlugin, reason string, err error) {
	c, err := r.catalog.contract(ctx, want.Name, v.Tag)
	switch {
	case isUnreadable(err):
		return nil, err.Error(), nil
	case err != nil:
		return nil, "", err
	}
	against := r.bundled.findUnmet(&c)
	if against != "" && strict {
		return nil, against, nil
	}
	with := append(slices.Clone(trial), chosenPlugin{want.Name, v.Tag, "needed by plugin " + path[len(path)-1], v, c})
	return r.chooseNeeded(ctx, &c, with, append(slices.Clone(path), want.Name), strict)
}
