package pull

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

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
	documents, notes := make([][]byte, len(tags)), make([]string, len(tags))
	err := p.each(ctx, len(tags), func(ctx context.Context, i int) (err error) {
		documents[i], notes[i], err = p.release(ctx, channels, tags[i])
		return p.absorb(err, buildPiece, c.Name, tags[i])
	})
	for i, note := range notes {
		if note != "" {
			c.note("%s: %s: %s", releasesName, tags[i], note)
		}
	}
	if data := bytes.Join(documents, nil); err == nil && len(data) > 0 {
		p.files = append(p.files, PlannedFile{Name: releasesName, Size: int64(len(data)), data: data})
	}
	return err
}

// release is the document of one version, and what is not in it; nil where there is
// nothing to make one of.
func (p *planner) release(ctx context.Context, channels *planned, tag string) (document []byte, note string, err error) {
	r, ok := parseRelease(tag)
	if !ok {
		return nil, "", nil
	}
	image, ok := p.imageOf(channels, tag)
	if !ok {
		return nil, "", nil // and the list of what is missing says so
	}
	files, err := p.src.imageFiles(ctx, channels.Repository, image, "version.json", "changelog.yaml")
	if err != nil {
		return nil, "", broken(channels.Repository, tag, err)
	}
	document, note = releaseDocument(r, files["version.json"], files["changelog.yaml"])
	return document, note, nil
}

// releaseDocument is the YAML document of a release, from version.json and changelog.yaml
// of its release-channel image. The same files make the same bytes. Without a readable
// version.json there is none; without a readable changelog it has none. The note says so.
func releaseDocument(r release, version, changelog []byte) (document []byte, note string) {
	if version == nil {
		return nil, "skipped: its image has no version.json"
	}
	var about struct {
		Requirements map[string]string   `json:"requirements"`
		Disruptions  map[string][]string `json:"disruptions"`
	}
	if err := json.Unmarshal(version, &about); err != nil {
		return nil, "skipped: version.json: " + err.Error()
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
		note = "no changelog: changelog.yaml: " + strings.Join(strings.Fields(err.Error()), " ")
	}
	b := bytes.NewBufferString("---\n")
	e := yaml.NewEncoder(b)
	e.SetIndent(2)
	if err := errors.Join(e.Encode(doc), e.Close()); err != nil {
		return nil, "skipped: " + err.Error()
	}
	return b.Bytes(), note
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
	if err := tree.Decode(&changelog); err != nil {
		return nil, err
	}
	return changelog, nil
}
