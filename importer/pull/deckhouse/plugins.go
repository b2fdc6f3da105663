package deckhouse

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/importer/pull"
	"github.com/layoutproxy/layoutproxy/importer/release"
	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
)

// pluginsPath is the path above the layouts of plugins. The repository at this path has one tag for
// each plugin: its name.
const pluginsPath = programPath + "/plugins"

// planPlugins plans plugins of the d8 program: those that the user requests, and those for modules
// in the bundle. Indexes are planned completely.
func (p *planner) planPlugins(ctx context.Context) error {
	include := selectors(p.selection.IncludePlugins)
	source := &pluginSource{planner: p, repositories: map[string]string{}, contracts: map[string]release.Contract{}}
	for name, n := range include {
		for i, c := range n.Pins {
			exact, err := source.exactPin(ctx, name, c)
			if err != nil {
				return err
			}
			n.Pins[i] = exact
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
		p.draft.AddProblem(part(named), "plugin "+u.name, repository, u.tag, u.reason)
	}
	if len(chosen.notes) > 0 {
		p.draft.Component("plugins").Notes = chosen.notes
	}
	return source.plan(ctx, chosen.chosen, include)
}

// pluginSource is the catalog of the source registry. It is not safe for concurrent use.
type pluginSource struct {
	planner *planner
	// repositories are the repositories that were found, by name of the plugin.
	repositories map[string]string
	// contracts are the contracts that were read, by NAME:TAG of the plugin.
	contracts map[string]release.Contract
}

// exactPin returns a copy of a pin with the tag that exists in the source: see findExactTag.
func (s *pluginSource) exactPin(ctx context.Context, name string, c *release.Constraint) (*release.Constraint, error) {
	repository, err := s.repository(ctx, name, c.Tag)
	if err != nil {
		return nil, err
	}
	exact := *c
	exact.Tag, err = s.planner.findExactTag(ctx, repository, c.Tag)
	return &exact, err
}

// plan plans the chosen plugins. Those that the user names in include are required.
func (s *pluginSource) plan(ctx context.Context, chosen []chosenPlugin, include map[string]release.Selector) error {
	draft := s.planner.draft
	shown := map[string]*pull.Component{}
	for _, plugin := range chosen {
		archive := "plugin-" + plugin.name + ".tar"
		repository, err := s.repository(ctx, plugin.name, plugin.tag)
		if err != nil {
			return err
		}
		c := shown[plugin.name]
		if c == nil {
			c = draft.Component("plugin "+plugin.name, archive)
			shown[plugin.name] = c
		}
		c.Versions = release.SortTags(append(c.Versions, plugin.tag))
		c.Note("%s: %s", plugin.tag, plugin.reason)
		of := sharedImage
		if _, asked := include[plugin.name]; asked {
			of = named
		}
		if _, err := draft.Add(ctx, s.planner.layout(archive, path.Join(pluginsPath, plugin.name), repository, of), plugin.tag, plugin.tag); err != nil {
			return err
		}
	}
	return nil
}

// repository returns the repository of a plugin in the source. If the source lists no tags, it
// is the repository that has the given tag.
func (s *pluginSource) repository(ctx context.Context, plugin, tag string) (name string, err error) {
	if name, ok := s.repositories[plugin]; ok {
		return name, nil
	}
	at := path.Join(pluginsPath, plugin)
	if s.planner.selection.ProxyRegistry {
		name, err = s.planner.sharedWithTag(ctx, at, tag)
	} else {
		name, err = s.planner.sharedWithList(ctx, at)
		if pull.IsRefused(err) || pull.IsAbsent(err) {
			err = nil // a later request for a version will report the error
		}
	}
	if err == nil {
		s.repositories[plugin] = name
	}
	return name, err
}

// names implements catalog. If the list of plugins is missing or refused, it returns no names.
func (s *pluginSource) names(ctx context.Context) ([]string, error) {
	if s.planner.selection.ProxyRegistry {
		return nil, nil
	}
	_, tags, err := s.planner.sharedTags(ctx, pluginsPath)
	if pull.IsAbsent(err) || pull.IsRefused(err) {
		return nil, nil
	}
	return sortedKeys(tags), err
}

func (s *pluginSource) versions(ctx context.Context, plugin string) ([]release.Release, error) {
	if s.planner.selection.ProxyRegistry {
		return nil, &unreadable{fmt.Errorf("the source lists no tags: add --include-plugin %s@=VERSION", plugin)}
	}
	repository, err := s.repository(ctx, plugin, "")
	if err != nil {
		return nil, err
	}
	tags, err := s.planner.source.Tags(ctx, repository)
	if pull.IsAbsent(err) || pull.IsRefused(err) {
		return nil, &unreadable{fmt.Errorf("missing: %w", err)}
	}
	if err != nil {
		return nil, err
	}
	return release.Stable(sortedKeys(tags)), nil
}

func (s *pluginSource) contract(ctx context.Context, plugin, tag string) (release.Contract, error) {
	if c, ok := s.contracts[plugin+":"+tag]; ok {
		return c, nil
	}
	repository, err := s.repository(ctx, plugin, tag)
	if err != nil {
		return release.Contract{}, err
	}
	image, err := s.planner.source.Resolve(ctx, repository, tag)
	var annotation string
	if err == nil {
		annotation, err = s.annotation(ctx, repository, image)
	}
	switch {
	case pull.IsAbsent(err):
		return release.Contract{}, &unreadable{errors.New(problem.Missing)}
	case pull.IsUnusable(err):
		return release.Contract{}, &unreadable{err}
	case err != nil:
		return release.Contract{}, err
	}
	c, err := release.ParseContract(annotation)
	if err != nil {
		return c, &unreadable{err}
	}
	s.contracts[plugin+":"+tag] = c
	return c, nil
}

// annotation returns the contract in the annotations of a manifest. If an index has no contract,
// annotation returns the contract of the first manifest in the index.
func (s *pluginSource) annotation(ctx context.Context, repository string, image closure.Descriptor) (string, error) {
	wanted := []digest.Digest{image.Digest}
	for i := 0; i < len(wanted); i++ {
		body, err := s.planner.source.Manifest(ctx, repository, wanted[i])
		if err != nil {
			return "", err
		}
		var doc struct {
			Annotations map[string]string    `json:"annotations"`
			Manifests   []closure.Descriptor `json:"manifests"`
		}
		if err := json.Unmarshal(body, &doc); err != nil {
			return "", &pull.UnusableError{Err: err}
		}
		if text := doc.Annotations[release.ContractAnnotation]; text != "" {
			return text, nil
		}
		if i == 0 && len(doc.Manifests) > 0 {
			wanted = append(wanted, doc.Manifests[0].Digest)
		}
	}
	return "", nil
}
