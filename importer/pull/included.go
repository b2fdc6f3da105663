package pull

import (
	"context"
	"errors"
	"slices"
)

// included chooses what is included by name: exact versions first, so that others share
// them. What the bundle does not satisfy is a note: whoever names a plugin wants it.
func (r *chooser) included(ctx context.Context, include map[string]named) error {
	var pins []chosenPlugin
	for _, name := range sortedKeys(include) {
		for _, c := range include[name].pins {
			pin, err := r.pin(ctx, name, c.tag)
			if err != nil {
				return err
			}
			if pin != nil {
				pins = append(pins, *pin)
			}
		}
	}
	for _, pin := range pins {
		trial, reason, err := r.needs(ctx, &pin.contract, nil, []string{pin.name}, false)
		if err != nil {
			return err
		}
		if reason != "" {
			r.unresolved = append(r.unresolved, pluginGap{pin.name, pin.tag, reason})
		}
		r.chosen = append(r.chosen, trial...)
	}
	for _, name := range sortedKeys(include) {
		if err := r.includedRanges(ctx, include[name]); err != nil {
			return err
		}
	}
	return nil
}

// pin chooses one tag of a plugin; nil where it cannot be had, or is chosen already.
func (r *chooser) pin(ctx context.Context, name, tag string) (*chosenPlugin, error) {
	c, err := r.contract(ctx, name, tag)
	var bad unreadable
	if errors.As(err, &bad) {
		r.unresolved = append(r.unresolved, pluginGap{name, tag, err.Error()})
		return nil, nil
	}
	if err != nil || r.has(name, tag) {
		return nil, err
	}
	v, _ := parseRelease(tag)
	p := chosenPlugin{name, tag, "asked for by name", v, c}
	r.chosen = append(r.chosen, p)
	return &p, nil
}

// includedRanges chooses the newest version for each range of a plugin, or the newest of
// all.
func (r *chooser) includedRanges(ctx context.Context, n named) error {
	ranges := slices.Clone(n.ranges)
	if n.all {
		ranges = append(ranges, nil)
	}
	if len(ranges) == 0 {
		return nil
	}
	versions, err := r.versions(ctx, n.name)
	var bad unreadable
	if errors.As(err, &bad) {
		r.unresolved = append(r.unresolved, pluginGap{n.name, "", err.Error()})
		return nil
	}
	if err != nil {
		return err
	}
	for _, c := range ranges {
		fitting := slices.DeleteFunc(slices.Clone(versions), func(v release) bool { return c != nil && !c.some.Check(v.version) })
		reason, err := r.newest(ctx, n.name, fitting, func(*contract) string { return "" }, false, "asked for by name")
		if err != nil {
			return err
		}
		if reason != "" {
			r.unresolved = append(r.unresolved, pluginGap{n.name, "", n.String() + ": " + reason})
		}
	}
	return nil
}
