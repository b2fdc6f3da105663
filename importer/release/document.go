package release

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// document is a DeckhouseRelease object. It has only the fields that come from the image of a release.
type document struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string `yaml:"kind"`
	Metadata   struct {
		Name string `yaml:"name"`
	} `yaml:"metadata"`
	Spec documentSpec `yaml:"spec"`
}

type documentSpec struct {
	Version       string            `yaml:"version"`
	Requirements  map[string]string `yaml:"requirements,omitempty"`
	Disruptions   []string          `yaml:"disruptions,omitempty"`
	Changelog     map[string]any    `yaml:"changelog,omitempty"`
	ChangelogLink string            `yaml:"changelogLink"`
}

// Document returns the DeckhouseRelease object of a release as YAML. version and changelog are files of the
// release's image. The same files always give the same bytes. If the version file cannot be parsed, Document
// returns nil. If the changelog cannot be parsed, it omits the changelog. In both cases, note is the reason.
func Document(r Release, version, changelog []byte) (yamlDocument []byte, note string) {
	var about struct {
		Requirements map[string]string   `json:"requirements"`
		Disruptions  map[string][]string `json:"disruptions"`
	}
	if err := parseVersionFile(version, &about); err != nil {
		return nil, "skipped: " + err.Error()
	}
	doc := document{APIVersion: "deckhouse.io/v1alpha1", Kind: "DeckhouseRelease"}
	doc.Metadata.Name = r.Tag
	doc.Spec = documentSpec{
		Version:       r.Tag,
		Requirements:  about.Requirements,
		Disruptions:   about.Disruptions[fmt.Sprintf("%d.%d", r.Version.Major(), r.Version.Minor())],
		ChangelogLink: "https://github.com/deckhouse/deckhouse/releases/tag/" + r.Tag,
	}
	var err error
	if doc.Spec.Changelog, err = parseChangelog(changelog); err != nil {
		note = "no changelog: " + ChangelogFile + ": " + strings.Join(strings.Fields(err.Error()), " ")
	}
	b := bytes.NewBufferString("---\n")
	e := yaml.NewEncoder(b)
	e.SetIndent(2)
	if err := errors.Join(e.Encode(doc), e.Close()); err != nil {
		return nil, "skipped: " + err.Error()
	}
	return b.Bytes(), note
}

// parseChangelog parses a changelog in YAML. It keeps dates as text.
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
