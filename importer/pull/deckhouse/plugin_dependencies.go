package deckhouse

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/layoutproxy/layoutproxy/importer/release"
)

// chooseNeeded adds to a trial the plugins that a contract needs, and those that they need in
// turn. path are the names that led there. The reason says why that is impossible.
func (r *chooser) chooseNeeded(ctx context.Context, c *release.Contract, trial []chosenPlugin, path []string, strict bool) (_ []chosenPlugin, reason string, err error) {
	for _, want := range c.Requirements.Plugins.Mandatory {
		switch {
		case !release.IsName(want.Name):
			return nil, fmt.Sprintf("needs plugin %q: malformed name", want.Name), nil
		case slices.Contains(path, want.Name):
			return nil, "plugins need each other in a circle: " + strings.Join(append(slices.Clone(path), want.Name), " → "), nil
		case len(path) > maxDependencies:
			return nil, fmt.Sprintf("the chain of plugins that need each other is longer than %d: %s", maxDependencies, strings.Join(path, " → ")), nil
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

// isMetByChosen reports whether a chosen version already meets a need.
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

// chooseFor adds to a trial the newest version that meets one need.
func (r *chooser) chooseFor(ctx context.Context, want release.Requirement, trial []chosenPlugin, path []string, strict bool) (_ []chosenPlugin, reason string, err error) {
	versions, err := r.catalog.versions(ctx, want.Name)
	var bad *unreadable
	if errors.As(err, &bad) {
		return nil, err.Error(), nil
	}
	if err != nil {
		return nil, "", err
	}
	reason = "no version of it fits"
	first := true
	for _, v := range slices.Backward(versions) {
		if ok, err := want.Fits(v.Version); err != nil {
			return nil, err.Error(), nil
		} else if !ok {
			continue
		}
		if r.tries++; r.tries > maxTries {
			return nil, "", fmt.Errorf("plugins: more than %d versions were tried, which need each other: name versions with --include-plugin NAME@=VERSION", maxTries)
		}
		with, against, err := r.tryVersion(ctx, want, v, trial, path, strict)
		if err != nil {
			return nil, "", err
		}
		if against == "" {
			return with, "", nil
		}
		if first {
			first, reason = false, v.Tag+": "+against
		}
	}
	return nil, reason, nil
}

// tryVersion adds one version to a trial, and the plugins that it needs.
func (r *chooser) tryVersion(ctx context.Context, want release.Requirement, v release.Release, trial []chosenPlugin, path []string, strict bool) (_ []chosenPlugin, reason string, err error) {
	c, err := r.catalog.contract(ctx, want.Name, v.Tag)
	var bad *unreadable
	if errors.As(err, &bad) {
		return nil, err.Error(), nil
	}
	if err != nil {
		return nil, "", err
	}
	against := r.bundled.findUnmet(&c)
	if against != "" && strict {
		return nil, against, nil
	}
	with := append(slices.Clone(trial), chosenPlugin{want.Name, v.Tag, "needed by plugin " + path[len(path)-1], v, c})
	return r.chooseNeeded(ctx, &c, with, append(slices.Clone(path), want.Name), strict)
}
