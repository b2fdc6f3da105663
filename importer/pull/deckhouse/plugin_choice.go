package deckhouse

import (
	"cmp"
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

// catalog describes the plugins of a source. A method always returns the same result for the
// same arguments. An *unreadable error concerns one version or one plugin; any other error ends
// the choice.
type catalog interface {
	// names returns all plugins, in ascending order; none if they cannot be listed.
	names(ctx context.Context) ([]string, error)
	// versions returns the stable versions of a plugin, in ascending order.
	versions(ctx context.Context, plugin string) ([]release.Release, error)
	// contract returns the requirements of one tag of a plugin.
	contract(ctx context.Context, plugin, tag string) (release.Contract, error)
}

// unreadable is the reason why a version or a plugin cannot be chosen.
type unreadable struct{ err error }

func (u *unreadable) Error() string { return u.err.Error() }

func (u *unreadable) Unwrap() error { return u.err }

func isUnreadable(err error) bool { return errors.As(err, new(*unreadable)) }

// chosenPlugin is a version of a plugin, and the reason why it is in the bundle.
type chosenPlugin struct {
	name, tag, reason string

	release  release.Release // zero if the tag is not a version
	contract release.Contract
}

// choice is the set of plugins for a bundle. It depends only on the catalog, the content of the
// bundle and the names that the user requests.
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

// choosePlugins chooses plugins. For each bundled version of a module that a plugin's contract
// names, it chooses the newest stable version of the plugin whose contract the bundle satisfies. It
// adds the plugins that these need, and then those that are included by name.
func choosePlugins(ctx context.Context, c catalog, b bundled, include map[string]release.Selector) (choice, error) {
	r := &chooser{catalog: c, bundled: b}
	if len(b.modules) > 0 {
		names, err := c.names(ctx)
		if err != nil {
			return r.choice, err
		}
		for _, name := range names {
			if !release.IsName(name) {
				continue // the tag is not the name of a plugin
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
	if isUnreadable(err) || err == nil && len(versions) == 0 {
		return nil // the plugin has no versions
	}
	if err != nil {
		return err
	}
	var newest release.Contract
	reason, err := tryNewestFirst(versions, func(v release.Release) (against string, err error) {
		if newest, err = r.catalog.contract(ctx, name, v.Tag); isUnreadable(err) {
			return err.Error(), nil
		}
		return "", err
	})
	if err != nil {
		return err
	}
	if reason != "" {
		r.addNote("plugin %s is not pulled: no version has a readable contract: %s", name, reason)
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
// module. If no version fits, it returns the reason.
func (r *chooser) chooseForModule(ctx context.Context, name string, versions []release.Release, module string, of release.Release) (reason string, err error) {
	rejects := func(c *release.Contract) string {
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
	return r.chooseNewest(ctx, name, versions, rejects, true, fmt.Sprintf("for module %s %s", module, of.Tag))
}

// chooseNewest chooses the newest version for which rejects returns no reason, together with the
// plugins that it needs. If no version can be chosen, it returns the reason of the newest one.
func (r *chooser) chooseNewest(ctx context.Context, name string, versions []release.Release, rejects func(*release.Contract) string, strict bool, why string) (reason string, err error) {
	return tryNewestFirst(versions, func(v release.Release) (against string, err error) {
		c, err := r.catalog.contract(ctx, name, v.Tag)
		switch {
		case isUnreadable(err):
			return err.Error(), nil
		case err != nil:
			return "", err
		}
		if against := rejects(&c); against != "" || r.hasChosen(name, v.Tag) {
			return against, nil
		}
		needed, against, err := r.chooseNeeded(ctx, &c, nil, []string{name}, strict)
		if err == nil && against == "" {
			r.choice.chosen = append(append(r.choice.chosen, chosenPlugin{name, v.Tag, why, v, c}), needed...)
		}
		return against, err
	})
}

// tryNewestFirst tries versions, the newest first, until one has no reason against it. If there
// is no such version, it returns the reason of the newest one.
func tryNewestFirst(versions []release.Release, try func(release.Release) (against string, err error)) (reason string, err error) {
	for _, v := range slices.Backward(versions) {
		against, err := try(v)
		if err != nil || against == "" {
			return "", err
		}
		reason = cmp.Or(reason, v.Tag+": "+against)
	}
	return cmp.Or(reason, "no version of it fits"), nil
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
