package main

import (
	"bytes"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// annotationContainerdName is an annotation that contains the name of an image. When containerd and
// podman load an archive, they give the image this name. BuildKit's docker exporter also writes the
// annotation (containerd, core/images/annotations.go).
const annotationContainerdName = "io.containerd.image.name"

// imageName is the name of the image on a node after its archive is loaded. The chart expects this name.
const imageName = "docker.io/library/layoutproxy"

// nobody is the user id and the group id with which the program runs in its image.
const nobody = 65532

// containerConfig is the configuration of a container. It contains fields of the OCI specification,
// and docker's health check (moby, api/types/container/config.go).
type containerConfig struct {
	specs.ImageConfig
	Healthcheck *healthcheck `json:",omitempty"`
}

type healthcheck struct {
	Test                           []string
	Interval, Timeout, StartPeriod time.Duration
}

// newConfig returns the configuration of the image. It must match the Dockerfile.
func newConfig(r release) containerConfig {
	return containerConfig{
		ImageConfig: specs.ImageConfig{
			User:         fmt.Sprintf("%d:%d", nobody, nobody),
			Env:          []string{"LAYOUTPROXY_LISTEN=:5000", "LAYOUTPROXY_ADMIN_LISTEN=:5580", "LAYOUTPROXY_CACHE_DIR=/cache"},
			ExposedPorts: map[string]struct{}{"5000/tcp": {}, "5580/tcp": {}},
			Volumes:      map[string]struct{}{"/cache": {}},
			Entrypoint:   []string{"/layoutproxy"},
			Cmd:          []string{"serve", "/bundle"},
			Labels: map[string]string{
				specs.AnnotationTitle:    "layoutproxy",
				specs.AnnotationVersion:  r.Version,
				specs.AnnotationRevision: r.Commit,
				specs.AnnotationSource:   repository,
				specs.AnnotationLicenses: "Apache-2.0",
			},
		},
		Healthcheck: &healthcheck{
			Test:     []string{"CMD", "/layoutproxy", "doctor", "http://127.0.0.1:5000"},
			Interval: 30 * time.Second, Timeout: 10 * time.Second, StartPeriod: 10 * time.Minute,
		},
	}
}

// newImage returns the container image: an index with one manifest per architecture.
func newImage(r release, programs []artifact) (*layout, error) {
	if len(programs) == 0 {
		return nil, errors.New("goreleaser built no program for linux")
	}
	roots, err := certificates()
	if err != nil {
		return nil, err
	}
	l := newLayout()
	index := specs.Index{Versioned: versioned(), MediaType: specs.MediaTypeImageIndex, Annotations: newConfig(r).Labels}
	for _, p := range programs {
		m, err := addPlatform(l, r, p, roots)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.Path, err)
		}
		index.Manifests = append(index.Manifests, m)
	}
	if l.root, err = l.addJSON(specs.MediaTypeImageIndex, index); err != nil {
		return nil, err
	}
	l.root.Annotations = map[string]string{
		specs.AnnotationRefName:  r.tag(),
		annotationContainerdName: imageName + ":" + r.tag(),
	}
	return l, nil
}

// addPlatform adds the image for one architecture to a layout.
func addPlatform(l *layout, r release, p artifact, roots []byte) (specs.Descriptor, error) {
	data, err := os.ReadFile(p.Path)
	if err != nil {
		return specs.Descriptor{}, err
	}
	content, err := writeTar([]file{
		{name: "bundle/"},
		{name: "cache/", owner: nobody},
		{name: "etc/"},
		{name: "etc/ssl/"},
		{name: "etc/ssl/certs/"},
		{name: "etc/ssl/certs/ca-certificates.crt", data: roots},
		{name: "layoutproxy", data: data, mode: 0o755},
	}, r.Date)
	if err != nil {
		return specs.Descriptor{}, err
	}
	small, err := compress(content)
	if err != nil {
		return specs.Descriptor{}, err
	}
	platform := specs.Platform{OS: "linux", Architecture: p.Goarch}
	config, err := l.addJSON(specs.MediaTypeImageConfig, struct {
		specs.Image
		Config containerConfig `json:"config"`
	}{
		specs.Image{
			Created: &r.Date, Platform: platform,
			RootFS:  specs.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromBytes(content)}},
			History: []specs.History{{Created: &r.Date, CreatedBy: "deploy/release"}},
		}, newConfig(r),
	})
	if err != nil {
		return specs.Descriptor{}, err
	}
	m, err := l.addJSON(specs.MediaTypeImageManifest, specs.Manifest{
		Versioned: versioned(), MediaType: specs.MediaTypeImageManifest,
		Config: config, Layers: []specs.Descriptor{l.add(specs.MediaTypeImageLayerGzip, small)},
	})
	m.Platform = &platform
	return m, err
}

// certificates returns the certificate authorities that Mozilla trusts, from a pinned Go module. It
// leaves out authorities that Mozilla trusts only with restrictions, for example until a date,
// because a file of certificates cannot contain such a restriction.
func certificates() ([]byte, error) {
	var all [][]byte
	for root := range bundle.Roots() {
		if root.Constraint == nil {
			all = append(all, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}))
		}
	}
	if len(all) < 50 {
		return nil, fmt.Errorf("found %d certificate authorities in Mozilla's list, want at least 50", len(all))
	}
	slices.SortFunc(all, bytes.Compare)
	return bytes.Join(all, nil), nil
}
