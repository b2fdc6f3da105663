package main

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/layoutproxy/layoutproxy/layoutstore/inventory"
)

const repository = "https://github.com/layoutproxy/layoutproxy"

type options struct {
	top                         string // top directory of the project's source code
	dist, out, sbom, goreleaser string
	key, builder                string
	snapshot, unsigned          bool
}

// release contains fields of goreleaser's metadata.json. Date is the time of the commit.
type release struct {
	Version string    `json:"version"`
	Ref     string    `json:"tag"`
	Commit  string    `json:"commit"`
	Date    time.Time `json:"-"`
}

// tag returns the tag of the image and of the chart. A tag cannot contain +. Like Helm, tag
// replaces it with _.
func (r release) tag() string { return strings.ReplaceAll(r.Version, "+", "_") }

// artifact is one entry of goreleaser's artifacts.json.
type artifact struct {
	Name, Path, Goos, Goarch, Type string
}

// assemble writes all files of a release to the output directory.
func assemble(o options) error {
	r, err := readRelease(o)
	if err != nil {
		return err
	}
	var artifacts []artifact
	if err := readJSON(filepath.Join(o.dist, "artifacts.json"), &artifacts); err != nil {
		return err
	}
	if err := os.Mkdir(o.out, 0o755); err != nil {
		return err
	}
	if err := copyArtifacts(o, r, artifacts); err != nil {
		return err
	}
	if err := writeLayouts(o, r, programsOf(artifacts)); err != nil {
		return err
	}
	return finish(o, r)
}

// readRelease reads which version goreleaser has built. It fails without SOURCE_DATE_EPOCH. Except for a
// snapshot, it also fails without the version's section in CHANGELOG.md, or without a key unless o.unsigned is set.
func readRelease(o options) (r release, err error) {
	if err := readJSON(filepath.Join(o.dist, "metadata.json"), &r); err != nil {
		return r, err
	}
	var seconds int64
	if _, err := fmt.Sscan(os.Getenv("SOURCE_DATE_EPOCH"), &seconds); err != nil {
		return r, fmt.Errorf("SOURCE_DATE_EPOCH must be the time of the commit in seconds: %w", err)
	}
	r.Date = time.Unix(seconds, 0).UTC()
	if o.snapshot {
		return r, nil
	}
	if o.key == "" && !o.unsigned {
		return r, errors.New("LAYOUTPROXY_RELEASE_KEY is empty: set it to sign the release, or pass -unsigned")
	}
	changes, err := os.ReadFile(filepath.Join(o.top, "CHANGELOG.md"))
	if err == nil && !bytes.Contains(changes, []byte("\n## ["+r.Version+"]")) {
		err = fmt.Errorf("CHANGELOG.md has no section for version %s", r.Version)
	}
	return r, err
}

func readJSON(name string, v any) error {
	data, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// copyArtifacts copies the SBOM and goreleaser's archives and packages.
func copyArtifacts(o options, r release, artifacts []artifact) error {
	names := map[string]string{"layoutproxy_" + r.Version + ".cdx.json": o.sbom}
	for _, a := range artifacts {
		if slices.Contains([]string{"Archive", "Linux Package", "Source"}, a.Type) {
			names[a.Name] = a.Path
		}
	}
	if len(names) == 1 {
		return fmt.Errorf("%s/artifacts.json lists no archives and no packages of a release", o.dist)
	}
	for name, from := range names {
		data, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		if err := o.write(name, data); err != nil {
			return err
		}
	}
	return nil
}

// programsOf returns the Linux programs, sorted by architecture.
func programsOf(artifacts []artifact) []artifact {
	all := slices.DeleteFunc(slices.Clone(artifacts), func(a artifact) bool { return a.Type != "Binary" || a.Goos != "linux" })
	slices.SortFunc(all, func(a, b artifact) int { return strings.Compare(a.Goarch, b.Goarch) })
	return all
}

// writeLayouts writes the container image, the chart, and an image layout that contains the chart.
func writeLayouts(o options, r release, programs []artifact) error {
	image, err := newImage(r, programs)
	if err != nil {
		return err
	}
	packed, chart, err := newChart(r, filepath.Join(o.top, "deploy", "helm", "layoutproxy"))
	if err != nil {
		return err
	}
	if err := o.write("layoutproxy-chart-"+r.Version+".tgz", packed); err != nil {
		return err
	}
	for name, l := range map[string]*layout{"image": image, "chart": chart} {
		data, err := l.archive(r.Date)
		if err != nil {
			return err
		}
		if err := o.write("layoutproxy_"+r.Version+"_"+name+".tar", data); err != nil {
			return err
		}
	}
	return nil
}

// finish writes the provenance of all files in the output directory, and then SHA256SUMS, which
// also lists the provenance. It signs both.
func finish(o options, r release) error {
	subject, err := sumsOf(o.out, "*")
	if err != nil {
		return err
	}
	sums, err := sumsOf(o.top, "go.[ms]*")
	if err != nil {
		return err
	}
	builder := cmp.Or(o.builder, repository+"/blob/main/docs/release.md#by-hand")
	origin, err := provenance(r, subject, sums, o.goreleaser, builder)
	if err != nil {
		return err
	}
	name := "layoutproxy_" + r.Version + ".intoto.json"
	if err := o.write(name, origin); err != nil {
		return err
	}
	all, err := sumsOf(o.out, "*")
	if err != nil {
		return err
	}
	var b bytes.Buffer
	for _, f := range all {
		fmt.Fprintf(&b, "%s  %s\n", f.Digest["sha256"], f.Name)
	}
	if err := o.write("SHA256SUMS", b.Bytes()); err != nil {
		return err
	}
	return o.signFiles(map[string][]byte{"SHA256SUMS": b.Bytes(), name: origin})
}

// signFiles signs each file and writes the signature to NAME.sig. Without a key, or with -unsigned,
// it does nothing.
func (o options) signFiles(files map[string][]byte) error {
	if o.key == "" || o.unsigned {
		return nil
	}
	key, err := inventory.ParseSigningKey([]byte(o.key))
	if err != nil {
		return fmt.Errorf("LAYOUTPROXY_RELEASE_KEY: %w", err)
	}
	for name, data := range files {
		signature, err := key.Sign(data)
		if err != nil {
			return err
		}
		if err := o.write(name+".sig", signature); err != nil {
			return err
		}
	}
	return nil
}

func (o options) write(name string, data []byte) error {
	return os.WriteFile(filepath.Join(o.out, name), data, 0o644)
}

// sumsOf returns the SHA-256 of the files in dir whose names match a pattern, sorted by name.
func sumsOf(dir, pattern string) (all []resource, err error) {
	files, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(data)
		all = append(all, resource{Name: filepath.Base(f), Digest: map[string]string{"sha256": hex.EncodeToString(sum[:])}})
	}
	return all, nil
}
