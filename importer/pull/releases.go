package pull

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"go.yaml.in/yaml/v3"
)

// releasesName is the file beside the archives that a cluster takes its releases from.
const releasesName = "deckhousereleases.yaml"

// releaseDoc is a DeckhouseRelease, with the fields that a release image fills.
type releaseDoc struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string `yaml:"kind"`
	Metadata   struct {
		Name string `yaml:"name"`
	} `yaml:"metadata"`
	Spec releaseSpec `yaml:"spec"`
}

type releaseSpec struct {
	Version       string            `yaml:"version"`
	Requirements  map[string]string `yaml:"requirements,omitempty"`
	Disruptions   []string          `yaml:"disruptions,omitempty"`
	Changelog     map[string]any    `yaml:"changelog,omitempty"`
	ChangelogLink string            `yaml:"changelogLink"`
}

// releasesFile plans the file of releases: one document for each version that has a
// release-channel image, in the order of the versions.
func (p *planner) releasesFile(ctx context.Context, c *Component, channels *planned, tags []string) error {
	documents := make([][]byte, len(tags))
	err := p.each(ctx, len(tags), func(ctx context.Context, i int) (err error) {
		r, ok := parseRelease(tags[i])
		if !ok {
			return nil
		}
		image, ok := p.imageOf(channels, tags[i])
		if !ok {
			return nil // and the list of what is missing says so
		}
		files, err := p.src.peek(ctx, channels.Repository, image, "version.json", "changelog.yaml")
		if err == nil {
			documents[i], err = releaseDocument(r, files["version.json"], files["changelog.yaml"])
		}
		var bad unusable
		if errors.As(err, &bad) {
			p.mu.Lock()
			defer p.mu.Unlock()
			c.note("%s does not have %s: %v", releasesName, tags[i], err)
			return nil
		}
		if err != nil {
			return broken(channels.Repository, tags[i], err)
		}
		return nil
	})
	if data := bytes.Join(documents, nil); err == nil && len(data) > 0 {
		p.files = append(p.files, PlannedFile{Name: releasesName, Size: int64(len(data)), data: data})
	}
	return err
}

// releaseDocument is the YAML document of a release, from version.json and changelog.yaml
// of its release-channel image. The same files make the same bytes.
func releaseDocument(r release, version, changelog []byte) ([]byte, error) {
	if version == nil {
		return nil, unusable{errors.New("its image has no version.json")}
	}
	var about struct {
		Requirements map[string]string   `json:"requirements"`
		Disruptions  map[string][]string `json:"disruptions"`
	}
	if err := json.Unmarshal(version, &about); err != nil {
		return nil, unusable{fmt.Errorf("version.json: %w", err)}
	}
	doc := releaseDoc{APIVersion: "deckhouse.io/v1alpha1", Kind: "DeckhouseRelease"}
	doc.Metadata.Name = r.tag
	doc.Spec = releaseSpec{
		Version:       r.tag,
		Requirements:  about.Requirements,
		Disruptions:   about.Disruptions[fmt.Sprintf("%d.%d", r.version.Major(), r.version.Minor())],
		ChangelogLink: "https://github.com/deckhouse/deckhouse/releases/tag/" + r.tag,
	}
	var err error
	if doc.Spec.Changelog, err = parseChangelog(changelog); err != nil {
		return nil, unusable{fmt.Errorf("changelog.yaml: %w", err)}
	}
	b := bytes.NewBufferString("---\n")
	e := yaml.NewEncoder(b)
	e.SetIndent(2)
	if err := e.Encode(doc); err != nil {
		return nil, err
	}
	return b.Bytes(), e.Close()
}

// parseChangelog reads a changelog, in which dates stay the text that they are.
func parseChangelog(data []byte) (changelog map[string]any, err error) {
	var tree yaml.Node
	if err := yaml.Unmarshal(data, &tree); err != nil || tree.IsZero() {
		return nil, err
	}
	for todo := []*yaml.Node{&tree}; len(todo) > 0; {
		n := todo[len(todo)-1]
		todo = append(todo[:len(todo)-1], n.Content...)
		if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!timestamp" {
			n.Tag = "!!str"
		}
	}
	err = tree.Decode(&changelog)
	return changelog, err
}
