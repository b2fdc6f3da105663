package pull

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"sync"

	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
	"github.com/layoutproxy/layoutproxy/registry/client"
)

// pluginsPath is the layout below which plugins are; the tags of its repository are
// their names.
const pluginsPath = programPath + "/plugins"

// plugins plans plugins of the command line, indexes whole: those that belong to what
// is in the bundle, and those that are named.
func (p *planner) plugins(ctx context.Context) error {
	include, err := parseNames(p.Selection.IncludePlugins)
	if err != nil {
		return err
	}
	source := &pluginSource{planner: p, at: map[string]*once[string]{}, contracts: map[string]*once[contract]{}}
	for name, n := range include {
		for i, c := range n.pins {
			if n.pins[i], err = source.exactPin(ctx, name, c); err != nil {
				return err
			}
		}
	}
	chosen, err := choosePlugins(ctx, source, p.bundled, include)
	if err != nil {
		return err
	}
	for _, u := range chosen.unresolved {
		repository, err := source.repository(ctx, u.name, u.tag)
		if err != nil {
			return err
		}
		p.gap(askedPiece, "plugin "+u.name, repository, u.tag, u.reason)
	}
	if len(chosen.notes) > 0 {
		p.component("plugins").Notes = chosen.notes
	}
	return source.plan(ctx, chosen.chosen)
}

// pluginSource is the catalog of the source registry.
type pluginSource struct {
	*planner

	memo      sync.Mutex
	at        map[string]*once[string]   // repositories by plugin
	contracts map[string]*once[contract] // by plugin and tag
}

// exactPin is a pin to the tag that is meant.
func (s *pluginSource) exactPin(ctx context.Context, name string, c *constraint) (*constraint, error) {
	repository, err := s.repository(ctx, name, c.tag)
	if err != nil {
		return nil, err
	}
	exact := *c
	exact.tag, err = s.exact(ctx, repository, c.tag)
	return &exact, err
}

// plan plans the layouts of what was chosen.
func (s *pluginSource) plan(ctx context.Context, chosen []chosenPlugin) error {
	shown := map[string]*Component{}
	for _, plugin := range chosen {
		archive := "plugin-" + plugin.name + ".tar"
		repository, err := s.repository(ctx, plugin.name, plugin.tag)
		if err != nil {
			return err
		}
		c := shown[plugin.name]
		if c == nil {
			c = s.component("plugin "+plugin.name, archive)
			shown[plugin.name] = c
		}
		c.Versions = orderTags(append(c.Versions, plugin.tag))
		c.note("%s: %s", plugin.tag, plugin.reason)
		if _, err := s.add(ctx, s.layout(archive, path.Join(pluginsPath, plugin.name), repository), plugin.tag, plugin.tag); err != nil {
			return err
		}
	}
	return nil
}

// repository is where a plugin is in the source. Without a list of tags, a tag says so.
func (s *pluginSource) repository(ctx context.Context, plugin, tag string) (string, error) {
	return remember(&s.memo, s.at, plugin, func() (string, error) {
		at := path.Join(pluginsPath, plugin)
		if s.Selection.ProxyRegistry {
			return s.sharedWith(ctx, at, tag)
		}
		repository, err := s.sharedListed(ctx, at)
		if isRefused(err) || absent(err) {
			return repository, nil // which is found out when something of it is asked for
		}
		return repository, err
	})
}

// names implements catalog. A list that is missing or refused is none.
func (s *pluginSource) names(ctx context.Context) ([]string, error) {
	if s.Selection.ProxyRegistry {
		return nil, nil
	}
	repository, err := s.sharedListed(ctx, pluginsPath)
	if err == nil {
		var tags map[string]bool
		if tags, err = s.src.tags(ctx, repository); err == nil {
			return sorted(tags), nil
		}
	}
	if absent(err) || isRefused(err) {
		return nil, nil
	}
	return nil, err
}

// versions implements catalog.
func (s *pluginSource) versions(ctx context.Context, plugin string) ([]release, error) {
	if s.Selection.ProxyRegistry {
		return nil, unreadable{fmt.Errorf("the source lists no tags: add --include-plugin %s@=VERSION", plugin)}
	}
	repository, err := s.repository(ctx, plugin, "")
	if err != nil {
		return nil, err
	}
	tags, err := s.src.tags(ctx, repository)
	if absent(err) || isRefused(err) {
		return nil, unreadable{fmt.Errorf("not there: %w", err)}
	}
	if err != nil {
		return nil, err
	}
	return stable(tags), nil
}

// contract implements catalog.
func (s *pluginSource) contract(ctx context.Context, plugin, tag string) (contract, error) {
	return remember(&s.memo, s.contracts, plugin+":"+tag, func() (contract, error) {
		repository, err := s.repository(ctx, plugin, tag)
		if err != nil {
			return contract{}, err
		}
		image, err := s.src.resolve(ctx, repository, tag)
		var annotation string
		if err == nil {
			annotation, err = s.annotation(ctx, repository, image)
		}
		var bad unusable
		switch {
		case absent(err):
			return contract{}, unreadable{errors.New("not there")}
		case errors.As(err, &bad) || errors.Is(err, client.ErrMismatch):
			return contract{}, unreadable{err}
		case err != nil:
			return contract{}, err
		}
		c, err := parseContract(annotation)
		if err != nil {
			return c, unreadable{err}
		}
		return c, nil
	})
}

// annotation is the contract of a manifest: its own, or where an index has none, that of
// the first image in it.
func (s *pluginSource) annotation(ctx context.Context, repository string, image closure.Descriptor) (string, error) {
	body, err := s.src.body(ctx, repository, image.Digest)
	if err != nil {
		return "", err
	}
	var doc struct {
		Annotations map[string]string    `json:"annotations"`
		Manifests   []closure.Descriptor `json:"manifests"`
	}
	if err := json.Unmarshal(body, &doc); err != nil {
		return "", unusable{err}
	}
	if text := doc.Annotations[annotationContract]; text != "" || len(doc.Manifests) == 0 {
		return text, nil
	}
	body, err = s.src.body(ctx, repository, doc.Manifests[0].Digest)
	if err != nil {
		return "", err
	}
	doc.Annotations = nil
	if err := json.Unmarshal(body, &doc); err != nil {
		return "", unusable{err}
	}
	return doc.Annotations[annotationContract], nil
}
