package deckhouse

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/layoutproxy/layoutproxy/importer/release"
)

const (
	// maxDependencies limits the length of a chain of plugin dependencies.
	maxDependencies = 16
	// maxTries limits how many versions of plugins are tried in all.
	maxTries = 20_000
)

// catalog knows the plugins of a source. The same question always gets the same answer. An
// unreadable error concerns one version or one plugin; any other ends the choice.
type catalog interface {
	// names returns all plugins; none if they cannot be listed.
	names(ctx context.Context) ([]string, error)
	// versions returns the stable versions of a plugin, in ascending order.
	versions(ctx context.Context, plugin string) ([]release.Release, error)
	// contract returns the requirements of one tag of a plugin.
	contract(ctx context.Context, plugin, tag string) (release.Contract, error)
}

// unreadable says why a version or a plugin cannot be chosen.
type unreadable struct{ err error }

func (u *unreadable) Error() string { return u.err.Error() }

func (u *unreadable) Unwrap() error { return u.err }

// chosenPlugin is a version of a plugin, and why it is in the bundle.
type chosenPlugin struct {
	name, tag, reason string

	release  release.Release // zero if the tag is not a version
	contract release.Contract
}

// choice says which plugins a bundle gets. It depends only on the catalog, the content of the
// bundle and the requested names.
type choice struct {
	chosen     []chosenPlugin  // in the order of their choice
	notes      []string        // skipped plugins, and conflicts
	unresolved []missingPlugin // requested by name, but not available
}

type missingPlugin struct{ name, tag, reason string }

// chooser makes a choice.
type chooser struct {
	catalog catalog
	bundled bundled
	choice  choice
	tries   int
}

// choosePlugins chooses plugins: for each bundled version of each module that a plugin's
// contract names, the newest stable version that the bundle satisfies; the plugins that those
// need; and then those that are included by name.
func choosePlugins(ctx context.Context, c catalog, b bundled, include map[string]release.Selector) (choice, error) {
	r := &chooser{catalog: c, bundled: b}
	if len(b.modules) > 0 {
		names, err := c.names(ctx)
		if err != nil {
			return r.choice, err
		}
		slices.Sort(names)
		for _, name := range names {
			if !release.IsName(name) {
				continue // no plugin can have it
			}
			if err := r.chooseForModules(ctx, name); err != nil {
				return r.choice, err
			}
		}
	}
	err := r.chooseIncluded(ctx, include)
	r.noteConflicts()
	return r.choice, err
}

// chooseForModules chooses versions of one plugin for the modules that its newest readable
// contract names.
func (r *chooser) chooseForModules(ctx context.Context, name string) error {
	versions, err := r.catalog.versions(ctx, name)
	var bad *unreadable
	if errors.As(err, &bad) {
		return nil // the name has no versions
	}
	if err != nil {
		return err
	}
	var newest *release.Contract
	var reason string
	for _, v := range slices.Backward(versions) {
		c, err := r.catalog.contract(ctx, name, v.Tag)
		if err == nil {
			newest = &c
			break
		}
		if !errors.As(err, &bad) {
			return err
		}
		if reason == "" {
			reason = v.Tag + ": " + err.Error()
		}
	}
	if newest == nil {
		if reason != "" {
			r.addNote("plugin %s is not pulled: no version has a readable contract: %s", name, reason)
		}
		return nil
	}
	for _, module := range sortedKeys(r.bundled.modules) {
		if _, ok := newest.RequirementOf(module); !ok {
			continue
		}
		for _, v := range r.bundled.modules[module] {
			reason, err := r.chooseForModule(ctx, name, versions, module, v)
			if err != nil {
				return err
			}
			if reason != "" {
				r.addNote("plugin %s is not pulled for module %s %s: %s", name, module, v.Tag, reason)
			}
		}
	}
	return nil
}

// chooseForModule chooses the newest version of a plugin that fits one bundled version of a
// module. The reason says why none fits.
func (r *chooser) chooseForModule(ctx context.Context, name string, versions []release.Release, module string, of release.Release) (reason string, err error) {
	pairs := func(c *release.Contract) string {
		want, ok := c.RequirementOf(module)
		if !ok {
			return "it does not name the module"
		}
		ok, err := want.Fits(of.Version)
		switch {
		case err != nil:
			return err.Error()
		case !ok:
			return "requires module " + want.String()
		}
		return r.bundled.findUnmet(c)
	}
	return r.chooseNewest(ctx, name, versions, pairs, true, fmt.Sprintf("for module %s %s", module, of.Tag))
}

// chooseNewest chooses the newest version that rejects does not object to, together with the
// plugins that it needs. If none can be chosen, the reason is that of the newest one.
func (r *chooser) chooseNewest(ctx context.Context, name string, versions []release.Release, rejects func(*release.Contract) string, strict bool, why string) (reason string, err error) {
	reason = "no version of it fits"
	first := true
	for _, v := range slices.Backward(versions) {
		c, err := r.catalog.contract(ctx, name, v.Tag)
		var bad *unreadable
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
			if r.hasChosen(name, v.Tag) {
				return "", nil
			}
			if trial, against, err = r.chooseNeeded(ctx, &c, trial, []string{name}, strict); err != nil {
				return "", err
			}
		}
		if against == "" {
			r.choice.chosen = append(append(r.choice.chosen, chosenPlugin{name, v.Tag, why, v, c}), trial...)
			return "", nil
		}
		if first {
			first, reason = false, v.Tag+": "+against
		}
	}
	return reason, nil
}

func (r *chooser) hasChosen(name, tag string) bool {
	return slices.ContainsFunc(r.choice.chosen, func(c chosenPlugin) bool { return c.name == name && c.tag == tag })
}

// noteConflicts notes the reasons why a cluster may refuse the chosen plugins.
func (r *chooser) noteConflicts() {
	for _, p := range r.choice.chosen {
		var all []string
		if why := r.bundled.findUnmet(&p.contract); why != "" {
			all = append(all, why)
		}
		for _, why := range append(all, r.bundled.findConflicts(&p.contract)...) {
			r.addNote("plugin %s %s: %s", p.name, p.tag, why)
		}
		for _, want := range p.contract.Requirements.Plugins.Conditional {
			others := slices.ContainsFunc(r.choice.chosen, func(o chosenPlugin) bool { return o.name == want.Name })
			if ok, err := r.isMetByChosen(want, nil); others && !ok && err == nil {
				r.addNote("plugin %s %s: with plugin %s it requires %s, which the bundle does not have", p.name, p.tag, want.Name, want)
			}
		}
	}
}

func (r *chooser) addNote(format string, args ...any) {
	if note := fmt.Sprintf(format, args...); !slices.Contains(r.choice.notes, note) {
		r.choice.notes = append(r.choice.notes, note)
	}
}
