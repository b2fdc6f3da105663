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
	// maxDependencies is the maximum length of a chain of plugins in which each requires the next.
	maxDependencies = 16
	// maxTries is the maximum number of plugin versions that a choice of plugins may try.
	maxTries = 20_000
)

// catalog describes the plugins of a source. A method always returns the same result for the same
// arguments. An *unreadable error affects one version or one plugin. Any other error ends the
// choice.
type catalog interface {
	// names returns all plugins in ascending order, or none if they cannot be listed.
	names(ctx context.Context) ([]string, error)
	// versions returns the stable versions of a plugin, in ascending order.
	versions(ctx context.Context, plugin string) ([]release.Release, error)
	// contract returns the requirements of one tag of a plugin.
	contract(ctx context.Context, plugin, tag string) (release.Contract, error)
}

// unreadable is the error of a version or plugin that cannot be chosen.
type unreadable struct{ err error }

func (u *unreadable) Error() string { return u.err.Error() }

func (u *unreadable) Unwrap() error { return u.err }

func isUnreadable(err error) bool { return errors.As(err, new(*unreadable)) }

// chosenPlugin is a version of a plugin that is put into the bundle, and the reason for that.
type chosenPlugin struct {
	name, tag, reason string

	release  release.Release // version of the tag, or zero if the tag is no version
	contract release.Contract
}

// choice is the set of plugins that a bundle gets. It depends only on the catalog, the content of
// the bundle and the names that the user requests.
type choice struct {
	// chosen lists the plugins in the order in which they were chosen.
	chosen []chosenPlugin
	// notes are messages about skipped plugins and about conflicts.
	notes []string
	// unresolved are plugins that the user requests by name, but that are not available.
	unresolved []missingPlugin
}

type missingPlugin struct{ name, tag, reason string }

type chooser struct {
	catalog catalog
	bundled bundled
	choice  choice
	tries   int
}

// choosePlugins chooses the plugins for a bundle. It looks for plugins whose contract lists a
// module of the bundle. For each version of this module, it chooses the newest stable version of
// the plugin whose contract the bundle meets. It also chooses the plugins that the chosen ones
// require, and the plugins that the user names.
func choosePlugins(ctx context.Context, c catalog, b bundled, include map[string]release.Selector) (choice, error) {
	r := &chooser{catalog: c, bundled: b}
	if len(b.modules) > 0 {
		names, err := c.names(ctx)
		if err != nil {
			return r.choice, err
		}
		for _, name := range names {
			if !release.IsName(name) {
				continue // this tag is not the name of a plugin
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

// chooseForModules chooses versions of one plugin for each module that the plugin's newest readable
// contract lists.
func (r *chooser) chooseForModules(ctx context.Context, name string) error {
	versions, err := r.catalog.versions(ctx, name)
	if isUnreadable(err) || err == nil && len(versions) == 0 {
		return nil // the plugin has no readable versions
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

// chooseForModule chooses the newest version of a plugin that fits a given version of a module. If
// no version fits, it returns the reason.
func (r *chooser) chooseForModule(ctx context.Context, name string, versions []release.Release, module string, of release.Release) (reason string, err error) {
	rejects := func(c *release.Contract) string {
		want, ok := c.RequirementOf(module)
		if !ok {
			return "its contract does not list the module"
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

// chooseNewest chooses the newest version of a plugin for which rejects returns no reason. It also
// chooses the plugins that this version requires. If no version can be chosen, it returns the
// reason against the newest version.
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

// tryNewestFirst calls try with the newest version, then with older ones, until try returns no
// reason against a version. If there is no such version, tryNewestFirst returns the reason against
// the newest version.
func tryNewestFirst(versions []release.Release, try func(release.Release) (against string, err error)) (reason string, err error) {
	for _, v := range slices.Backward(versions) {
		against, err := try(v)
		if err != nil || against == "" {
			return "", err
		}
		reason = cmp.Or(reason, v.Tag+": "+against)
	}
	return cmp.Or(reason, "no version fits"), nil
}

func (r *chooser) hasChosen(name, tag string) bool {
	return slices.ContainsFunc(r.choice.chosen, func(c chosenPlugin) bool { return c.name == name && c.tag == tag })
}

// noteConflicts adds notes that say why a cluster could refuse a chosen plugin.
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
				r.addNote("plugin %s %s: if plugin %s is installed, it requires %s, which the bundle does not have", p.name, p.tag, want.Name, want)
			}
		}
	}
}

func (r *chooser) addNote(format string, args ...any) {
	if note := fmt.Sprintf(format, args...); !slices.Contains(r.choice.notes, note) {
		r.choice.notes = append(r.choice.notes, note)
	}
}
