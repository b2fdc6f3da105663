package acceptance

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// oracle is the content that a registry must serve for a bundle, by repository. readBundle reads
// the bundle with archive/tar and encoding/json, according to the specifications. It shares no code
// with layoutproxy, so it cannot have the same bugs.
type oracle map[string]*repository

// repository is the expected content of one repository.
type repository struct {
	tags      map[string]digest.Digest
	manifests map[digest.Digest]ocispec.Descriptor
	blobs     map[digest.Digest][]byte // including manifests
}

// readBundle reads a directory of archives, chunk sets and layouts. root is the repository path of
// the bundle. readBundle reads package-versions.tar first, then the other archives by name, then
// unpacked layouts. If a tag occurs several times, the last one wins.
func readBundle(t *testing.T, dir, root string) oracle {
	t.Helper()
	o := oracle{}
	archives := archivesOf(t, dir)
	names := slices.SortedFunc(maps.Keys(archives), func(a, b string) int {
		rank := func(name string) string {
			if name == "package-versions.tar" {
				return ""
			}
			return name
		}
		return strings.Compare(rank(a), rank(b))
	})
	for _, name := range names {
		o.add(t, untar(t, archives[name]), root)
	}
	o.add(t, layouttest.ReadFiles(t, dir), root)
	o.discover(root)
	return o
}

var chunkName = regexp.MustCompile(`^(.+\.tar)\.(\d{4,})\.chunk$`)

// archivesOf returns the content of each archive in a directory, by name. It joins chunks of any
// size. If there are both an archive and its chunks, it ignores the chunks.
func archivesOf(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	archives, chunks := map[string]string{}, map[string]map[int]string{}
	for _, e := range entries {
		if e.IsDir() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		file := filepath.Join(dir, e.Name())
		if m := chunkName.FindStringSubmatch(e.Name()); m != nil {
			n, err := strconv.Atoi(m[2])
			must(t, err)
			if chunks[m[1]] == nil {
				chunks[m[1]] = map[int]string{}
			}
			chunks[m[1]][n] = read(t, file)
		} else if strings.HasSuffix(e.Name(), ".tar") {
			archives[e.Name()] = read(t, file)
		}
	}
	for name, parts := range chunks {
		if archives[name] != "" {
			continue
		}
		var joined strings.Builder
		for n := range len(parts) {
			part, ok := parts[n]
			if !ok {
				t.Fatalf("%s: chunk %d is missing", name, n)
			}
			joined.WriteString(part)
		}
		archives[name] = joined.String()
	}
	return archives
}

// untar returns the content of the regular files and hard links in an archive, by name.
func untar(t *testing.T, data string) map[string]string {
	t.Helper()
	files := map[string]string{}
	for r := tar.NewReader(strings.NewReader(data)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		must(t, err)
		name := path.Clean(strings.TrimLeft(h.Name, "/"))
		switch h.Typeflag {
		case tar.TypeReg:
			content, err := io.ReadAll(r)
			must(t, err)
			files[name] = string(content)
		case tar.TypeLink:
			files[name] = files[path.Clean(strings.TrimLeft(h.Linkname, "/"))]
		}
	}
}

// add adds all layouts among files to the oracle.
func (o oracle) add(t *testing.T, files map[string]string, root string) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if path.Base(name) != ocispec.ImageIndexFile {
			continue
		}
		dir := path.Dir(name)
		r := o.repository(nameOf(root, dir))
		for file, data := range files {
			if below, ok := strings.CutPrefix(file, path.Join(dir, "blobs")+"/"); ok {
				algorithm, hex, _ := strings.Cut(below, "/")
				r.blobs[digest.NewDigestFromEncoded(digest.Algorithm(algorithm), hex)] = []byte(data)
			}
		}
		var index ocispec.Index
		must(t, json.Unmarshal([]byte(files[name]), &index))
		for _, d := range index.Manifests {
			if tag := oracleTag(d); tag != "" {
				r.tags[tag] = d.Digest
			}
			r.reach(t, d)
		}
	}
}

func (o oracle) repository(name string) *repository {
	if o[name] == nil {
		o[name] = &repository{map[string]digest.Digest{}, map[digest.Digest]ocispec.Descriptor{}, contents{}}
	}
	return o[name]
}

// nameOf returns the repository of the layout in a directory. root may end with an edition. All
// editions share the installer and the d8 program. So these are beside the edition, not below it.
func nameOf(root, dir string) string {
	first, _, _ := strings.Cut(dir, "/")
	if first == "installer" || first == "deckhouse-cli" {
		root = beside(root)
	}
	return path.Join(root, dir)
}

func beside(root string) string {
	parent, last := path.Split(root)
	if parent != "" && slices.Contains([]string{"ce", "be", "se", "se-plus", "ee", "fe", "cse"}, last) {
		return path.Clean(parent)
	}
	return root
}

// oracleTag returns the tag of a descriptor, or an empty string. It uses the short tag, if any.
// Otherwise, the tag follows the last colon of the reference. A reference with neither a colon nor
// a slash is itself the tag.
func oracleTag(d ocispec.Descriptor) string {
	if tag := d.Annotations["io.deckhouse.image.short_tag"]; tag != "" {
		if strings.Contains(tag, ":") {
			return "" // the short tag is a digest, not a tag
		}
		return tag
	}
	name, _, _ := strings.Cut(d.Annotations[ocispec.AnnotationRefName], "@")
	if i := strings.LastIndex(name, ":"); i >= 0 {
		return name[i+1:]
	}
	if strings.Contains(name, "/") {
		return ""
	}
	return name
}

// reach adds a manifest and, recursively, its children.
func (r *repository) reach(t *testing.T, d ocispec.Descriptor) {
	t.Helper()
	if r.manifests[d.Digest].Digest != "" {
		return
	}
	data, ok := r.blobs[d.Digest]
	if !ok {
		t.Fatalf("the bundle does not contain the manifest %s", d.Digest)
	}
	r.manifests[d.Digest] = d
	for _, child := range parse(t, data).Manifests {
		r.reach(t, child)
	}
}

// discover adds the discovery tags of modules, packages and plugins. layoutproxy makes their
// images, so the oracle does not know the digests.
func (o oracle) discover(root string) {
	for _, index := range []string{path.Join(root, "modules"), path.Join(root, "packages"), path.Join(beside(root), "deckhouse-cli/plugins")} {
		for _, name := range slices.Collect(maps.Keys(o)) {
			below, ok := strings.CutPrefix(name, index+"/")
			if !ok {
				continue
			}
			tag, _, _ := strings.Cut(below, "/")
			if r := o.repository(index); r.tags[tag] == "" {
				r.tags[tag] = made
			}
		}
	}
}

// made stands for the digest of a discovery tag, which the oracle cannot know.
const made digest.Digest = "made"

// referrers returns descriptors of the manifests that have the subject d, sorted by digest.
func (r *repository) referrers(t *testing.T, d digest.Digest) []ocispec.Descriptor {
	t.Helper()
	all := []ocispec.Descriptor{}
	for _, by := range slices.Sorted(maps.Keys(r.manifests)) {
		var m struct {
			manifest
			Annotations map[string]string `json:"annotations"`
		}
		must(t, json.Unmarshal(r.blobs[by], &m))
		if m.Subject == nil || m.Subject.Digest != d {
			continue
		}
		typ := m.ArtifactType
		if typ == "" && m.Config != nil {
			typ = m.Config.MediaType
		}
		all = append(all, ocispec.Descriptor{MediaType: r.manifests[by].MediaType, Digest: by, Size: int64(len(r.blobs[by])), ArtifactType: typ, Annotations: m.Annotations})
	}
	return all
}

// size returns the number of tags, manifests and blobs in all repositories.
func (o oracle) size() (tags, manifests, blobs int) {
	for _, r := range o {
		tags, manifests, blobs = tags+len(r.tags), manifests+len(r.manifests), blobs+len(r.blobs)
	}
	return tags, manifests, blobs
}

func (o oracle) String() string {
	tags, manifests, blobs := o.size()
	return fmt.Sprintf("%d repositories, %d tags, %d manifests, %d blobs", len(o), tags, manifests, blobs)
}
