package pull

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

const (
	// maxDependencies is how long a chain of plugins may be that need each other.
	maxDependencies = 16
	// maxTries is how many versions of plugins are tried at most, in all.
	maxTries = 20_000
)

// catalog is what a source has of plugins. It answers the same however often it is
// asked. An unreadable error concerns one version or one plugin; any other ends the
// choice.
type catalog interface {
	// names are the plugins there are; none where no list is to be had.
	names(ctx context.Context) ([]string, error)
	// versions are the stable versions of a plugin, rising.
	versions(ctx context.Context, plugin string) ([]release, error)
	// contract is what one tag of a plugin needs.
	contract(ctx context.Context, plugin, tag string) (contract, error)
}

// unreadable says why one version or one plugin cannot be chosen.
type unreadable struct{ error }

// chosenPlugin is a version of a plugin, and why it is in the bundle.
type chosenPlugin struct {
	name, tag, reason string

	release  release // zero where the tag is no version
	contract contract
}

// choice is which plugins a bundle gets. It depends on the catalog, on what is bundled
// and on the names that are asked for, and on nothing else.
type choice struct {
	chosen     []chosenPlugin // in the order in which they were chosen
	notes      []string       // plugins that were passed over, and conflicts
	unresolved []pluginGap    // what was asked for by name and cannot be had
}

type pluginGap struct{ name, tag, reason string }

// chooser makes a choice.
type chooser struct {
	catalog
	bundled
	choice
	tries int
}

// choosePlugins chooses plugins: for each bundled version of each module that a
// plugin's contract names, the newest stable version that the bundle satisfies; what
// those need; and then what is included by name.
func choosePlugins(ctx context.Context, c catalog, b bundled, include map[string]named) (choice, error) {
	r := &chooser{catalog: c, bundled: b}
	if len(b.modules) > 0 {
		names, err := c.names(ctx)
		if err != nil {
			return r.choice, err
		}
		slices.Sort(names)
		for _, name := range names {
			if !validSegment(name) {
				continue // no plugin can have it
			}
			if err := r.forModules(ctx, name); err != nil {
				return r.choice, err
			}
		}
	}
	err := r.included(ctx, include)
	r.conflictsOfChosen()
	return r.choice, err
}

// forModules chooses versions of one plugin for the modules that its newest readable
// contract names.
func (r *chooser) forModules(ctx context.Context, name string) error {
	versions, err := r.versions(ctx, name)
	var bad unreadable
	if errors.As(err, &bad) {
		return nil // a name and nothing behind it
	}
	if err != nil {
		return err
	}
	var newest *contract
	var reason string
	for _, v := range slices.Backward(versions) {
		c, err := r.contract(ctx, name, v.tag)
		if err == nil {
			newest = &c
			break
		}
		if !errors.As(err, &bad) {
			return err
		}
		if reason == "" {
			reason = v.tag + ": " + err.Error()
		}
	}
	if newest == nil {
		if reason != "" {
			r.note("plugin %s is not pulled: no version has a readable contract: %s", name, reason)
		}
		return nil
	}
	for _, module := range sortedKeys(r.modules) {
		if _, ok := newest.requirementOf(module); !ok {
			continue
		}
		for _, v := range r.modules[module] {
			reason, err := r.forModule(ctx, name, versions, module, v)
			if err != nil {
				return err
			}
			if reason != "" {
				r.note("plugin %s is not pulled for module %s %s: %s", name, module, v.tag, reason)
			}
		}
	}
	return nil
}

// forModule chooses the newest version of a plugin that fits one bundled version of a
// module. The reason is why none does.
func (r *chooser) forModule(ctx context.Context, name string, versions []release, module string, bundled release) (reason string, err error) {
	pairs := func(c *contract) string {
		want, ok := c.requirementOf(module)
		if !ok {
			return "it does not name the module"
		}
		ok, err := want.fits(bundled.version)
		switch {
		case err != nil:
			return err.Error()
		case !ok:
			return "requires module " + want.String()
		}
		return r.rejects(c)
	}
	return r.newest(ctx, name, versions, pairs, true, fmt.Sprintf("for module %s %s", module, bundled.tag))
}

// newest chooses the newest of versions that rejects says nothing against and whose own
// needs can be met, together with what it needs. The reason is why there is none: the one
// of the newest version.
func (r *chooser) newest(ctx context.Context, name string, versions []release, rejects func(*contract) string, strict bool, why string) (reason string, err error) {
	reason = "no version of it fits"
	first := true
	for _, v := range slices.Backward(versions) {
		c, err := r.contract(ctx, name, v.tag)
		var bad unreadable
		if err != nil && !errors.As(err, &bad) {
			return "", err
		}
		var against string
		trial := []chosenPlugin{}
		switch {
		case err != nil:
			against = err.Error()
		case rejects(&c) != "":
			against = rejects(&c)
		default:
			if r.has(name, v.tag) {
				return "", nil
			}
			if trial, against, err = r.needs(ctx, &c, trial, []string{name}, strict); err != nil {
				return "", err
			}
		}
		if against == "" {
			r.chosen = append(append(r.chosen, chosenPlugin{name, v.tag, why, v, c}), trial...)
			return "", nil
		}
		if first {
			first, reason = false, v.tag+": "+against
		}
	}
	return reason, nil
}

func (r *chooser) has(name, tag string) bool {
	return slices.ContainsFunc(r.chosen, func(c chosenPlugin) bool { return c.name == name && c.tag == tag })
}

// needs adds to a trial the plugins that a contract needs, and what those need. path
// are the names that led there. The reason is why that cannot be.
func (r *chooser) needs(ctx context.Context, c *contract, trial []chosenPlugin, path []string, strict bool) (_ []chosenPlugin, reason string, err error) {
	for _, want := range c.Requirements.Plugins.Mandatory {
		switch {
		case !validSegment(want.Name):
			return nil, fmt.Sprintf("needs plugin %q, which is no name of one", want.Name), nil
		case slices.Contains(path, want.Name):
			return nil, "plugins need each other in a circle: " + strings.Join(append(slices.Clone(path), want.Name), " → "), nil
		case len(path) > maxDependencies:
			return nil, fmt.Sprintf("plugins need each other over more than %d others: %s", maxDependencies, strings.Join(path, " → ")), nil
		}
		shared, err := r.shares(want, trial)
		if err != nil {
			return nil, err.Error(), nil
		}
		if shared {
			continue
		}
		if trial, reason, err = r.need(ctx, want, trial, path, strict); err != nil || reason != "" {
			return nil, fmt.Sprintf("needs plugin %s: %s", want, reason), err
		}
	}
	return trial, "", nil
}

// shares reports whether a version that is chosen already meets a need.
func (r *chooser) shares(want requirement, trial []chosenPlugin) (bool, error) {
	for _, p := range slices.Concat(r.chosen, trial) {
		if p.name != want.Name || p.release.version == nil && want.Constraint != "" {
			continue
		}
		if want.Constraint == "" {
			return true, nil
		}
		if ok, err := want.fits(p.release.version); ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}

// need adds to a trial the newest version that meets one need.
func (r *chooser) need(ctx context.Context, want requirement, trial []chosenPlugin, path []string, strict bool) (_ []chosenPlugin, reason string, err error) {
	versions, err := r.versions(ctx, want.Name)
	var bad unreadable
	if errors.As(err, &bad) {
		return nil, err.Error(), nil
	}
	if err != nil {
		return nil, "", err
	}
	reason = "no version of it fits"
	first := true
	for _, v := range slices.Backward(versions) {
		if ok, err := want.fits(v.version); err != nil {
			return nil, err.Error(), nil
		} else if !ok {
			continue
		}
		if r.tries++; r.tries > maxTries {
			return nil, "", fmt.Errorf("plugins: more than %d versions were tried, which need each other: name versions with --include-plugin NAME@=VERSION", maxTries)
		}
		with, against, err := r.tryNeed(ctx, want, v, trial, path, strict)
		if err != nil {
			return nil, "", err
		}
		if against == "" {
			return with, "", nil
		}
		if first {
			first, reason = false, v.tag+": "+against
		}
	}
	return nil, reason, nil
}

// tryNeed adds one version to a trial, and what it needs.
func (r *chooser) tryNeed(ctx context.Context, want requirement, v release, trial []chosenPlugin, path []string, strict bool) (_ []chosenPlugin, reason string, err error) {
	c, err := r.contract(ctx, want.Name, v.tag)
	var bad unreadable
	if errors.As(err, &bad) {
		return nil, err.Error(), nil
	}
	if err != nil {
		return nil, "", err
	}
	against := r.rejects(&c)
	if against != "" && strict {
		return nil, against, nil
	}
	with := append(slices.Clone(trial), chosenPlugin{want.Name, v.tag, "needed by plugin " + path[len(path)-1], v, c})
	return r.needs(ctx, &c, with, append(slices.Clone(path), want.Name), strict)
}

// conflictsOfChosen notes what a cluster may refuse of what was chosen.
func (r *chooser) conflictsOfChosen() {
	for _, p := range r.chosen {
		var all []string
		if why := r.rejects(&p.contract); why != "" {
			all = append(all, why)
		}
		for _, why := range append(all, r.conflicts(&p.contract)...) {
			r.note("plugin %s %s: %s", p.name, p.tag, why)
		}
		for _, want := range p.contract.Requirements.Plugins.Conditional {
			others := slices.ContainsFunc(r.chosen, func(o chosenPlugin) bool { return o.name == want.Name })
			if ok, err := r.shares(want, nil); others && !ok && err == nil {
				r.note("plugin %s %s: where there is plugin %s, it requires %s, which the bundle does not have", p.name, p.tag, want.Name, want)
			}
		}
	}
}

func (r *chooser) note(format string, args ...any) {
	r.notes = appendNew(r.notes, fmt.Sprintf(format, args...))
}
