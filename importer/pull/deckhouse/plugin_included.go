package deckhouse

import (
	"context"
	"slices"

	"github.com/layoutproxy/layoutproxy/importer/release"
)

// chooseIncluded chooses the plugins that the user names. It chooses exact versions first, so that
// other plugins can use them. If the bundle does not meet a plugin's requirements, chooseIncluded
// only adds a note, because the user requested the plugin.
func (r *chooser) chooseIncluded(ctx context.Context, include map[string]release.Selector) error {
	var pins []chosenPlugin
	for _, name := range sortedKeys(include) {
		for _, c := range include[name].Pins {
			pin, err := r.choosePinned(ctx, name, c.Tag)
			if err != nil {
				return err
			}
			if pin != nil {
				pins = append(pins, *pin)
			}
		}
	}
	for _, pin := range pins {
		trial, reason, err := r.chooseNeeded(ctx, &pin.contract, nil, []string{pin.name}, false)
		if err != nil {
			return err
		}
		if reason != "" {
			r.choice.unresolved = append(r.choice.unresolved, missingPlugin{pin.name, pin.tag, reason})
		}
		r.choice.chosen = append(r.choice.chosen, trial...)
	}
	for _, name := range sortedKeys(include) {
		if err := r.chooseRanges(ctx, include[name]); err != nil {
			return err
		}
	}
	return nil
}

// choosePinned chooses the plugin with an exact tag. It returns nil if the plugin is not available
// or was chosen before.
func (r *chooser) choosePinned(ctx context.Context, name, tag string) (*chosenPlugin, error) {
	c, err := r.catalog.contract(ctx, name, tag)
	if isUnreadable(err) {
		r.choice.unresolved = append(r.choice.unresolved, missingPlugin{name, tag, err.Error()})
		return nil, nil
	}
	if err != nil || r.hasChosen(name, tag) {
		return nil, err
	}
	v, _ := release.Parse(tag)
	p := chosenPlugin{name, tag, "asked for by name", v, c}
	r.choice.chosen = append(r.choice.chosen, p)
	return &p, nil
}

// chooseRanges chooses the newest version in each range that the user gives for a plugin. If the
// user gives only the name of the plugin, it chooses the newest of all versions.
func (r *chooser) chooseRanges(ctx context.Context, n release.Selector) error {
	ranges := slices.Clone(n.Ranges)
	if n.All {
		ranges = append(ranges, nil)
	}
	if len(ranges) == 0 {
		return nil
	}
	versions, err := r.catalog.versions(ctx, n.Name)
	if isUnreadable(err) {
		r.choice.unresolved = append(r.choice.unresolved, missingPlugin{n.Name, "", err.Error()})
		return nil
	}
	if err != nil {
		return err
	}
	for _, c := range ranges {
		fitting := slices.DeleteFunc(slices.Clone(versions), func(v release.Release) bool { return c != nil && !c.Matches(v.Version) })
		reason, err := r.chooseNewest(ctx, n.Name, fitting, func(*release.Contract) string { return "" }, false, "asked for by name")
		if err != nil {
			return err
		}
		if reason != "" {
			r.choice.unresolved = append(r.choice.unresolved, missingPlugin{n.Name, "", n.String() + ": " + reason})
		}
	}
	return nil
}
