package main

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	specs "github.com/opencontainers/image-spec/specs-go/v1"
	"go.yaml.in/yaml/v3"
)

// Media types with which Helm stores a chart in a registry (Helm, pkg/registry/constants.go).
const (
	mediaTypeChartConfig = "application/vnd.cncf.helm.config.v1+json"
	mediaTypeChart       = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
)

// newChart packages the chart in dir as Helm does, with the version of the release. It returns the
// package, and a layout that contains the package in the form in which Helm pulls charts.
func newChart(r release, dir string) (archive []byte, l *layout, err error) {
	root := os.DirFS(dir)
	metadata, err := chartMetadata(r, root)
	if err != nil {
		return nil, nil, err
	}
	head, err := yaml.Marshal(metadata)
	if err != nil {
		return nil, nil, err
	}
	chart := fmt.Sprint(metadata["name"])
	files := []file{{name: chart + "/Chart.yaml", data: head}}
	err = fs.WalkDir(root, ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || name == "Chart.yaml" || strings.HasPrefix(path.Base(name), ".") {
			return err
		}
		data, err := fs.ReadFile(root, name)
		files = append(files, file{name: chart + "/" + name, data: data})
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	content, err := writeTar(files, r.Date)
	if err != nil {
		return nil, nil, err
	}
	if archive, err = compress(content); err != nil {
		return nil, nil, err
	}
	l, err = chartLayout(r, metadata, archive)
	return archive, l, err
}

// chartMetadata returns the content of Chart.yaml. It sets the version to that of the release.
func chartMetadata(r release, root fs.FS) (map[string]any, error) {
	data, err := fs.ReadFile(root, "Chart.yaml")
	if err != nil {
		return nil, err
	}
	var metadata map[string]any
	if err := yaml.Unmarshal(data, &metadata); err != nil {
		return nil, fmt.Errorf("cannot parse Chart.yaml: %w", err)
	}
	metadata["version"], metadata["appVersion"] = r.Version, r.tag()
	return metadata, nil
}

// chartLayout returns an image layout that contains a packaged chart.
func chartLayout(r release, metadata map[string]any, archive []byte) (*layout, error) {
	l := newLayout()
	config, err := json.Marshal(metadata)
	if err != nil {
		return nil, err
	}
	l.root, err = l.addJSON(specs.MediaTypeImageManifest, specs.Manifest{
		Versioned: versioned(), MediaType: specs.MediaTypeImageManifest,
		Config: l.add(mediaTypeChartConfig, config), Layers: []specs.Descriptor{l.add(mediaTypeChart, archive)},
		Annotations: map[string]string{
			specs.AnnotationTitle: fmt.Sprint(metadata["name"]), specs.AnnotationVersion: r.Version,
			specs.AnnotationDescription: fmt.Sprint(metadata["description"]), specs.AnnotationSource: repository,
		},
	})
	l.root.Annotations = map[string]string{specs.AnnotationRefName: r.tag()}
	return l, err
}
