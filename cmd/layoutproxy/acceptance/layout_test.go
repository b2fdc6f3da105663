package acceptance

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// layout is the directory of an OCI layout. Its tags are the ref.name annotations in index.json.
type layout string

func (l layout) exists() bool {
	_, err := os.Stat(filepath.Join(string(l), ocispec.ImageLayoutFile))
	return err == nil
}

func (l layout) blobPath(dgst digest.Digest) string {
	return filepath.Join(string(l), ocispec.ImageBlobsDir, dgst.Algorithm().String(), dgst.Encoded())
}

// writeBlob writes a blob. The caller has verified the digest.
func (l layout) writeBlob(dgst digest.Digest, data []byte) error {
	path := l.blobPath(dgst)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return replace(path, data)
}

// add adds a manifest with tags to index.json. It removes these tags from other manifests.
func (l layout) add(d ocispec.Descriptor, tags ...string) error {
	return l.edit(func(manifests []ocispec.Descriptor) []ocispec.Descriptor {
		for _, tag := range tags {
			manifests = untag(manifests, tag)
			tagged := d
			tagged.Annotations = map[string]string{ocispec.AnnotationRefName: tag}
			manifests = append(manifests, tagged)
		}
		return addUntagged(manifests, d)
	})
}

// removeTag removes a tag, and keeps the manifest. found reports whether the tag existed.
func (l layout) removeTag(tag string) (found bool, err error) {
	err = l.edit(func(manifests []ocispec.Descriptor) []ocispec.Descriptor {
		found = slices.ContainsFunc(manifests, func(d ocispec.Descriptor) bool { return tagOf(d) == tag })
		return untag(manifests, tag)
	})
	return found, err
}

func (l layout) removeManifest(dgst digest.Digest) error {
	return l.edit(func(manifests []ocispec.Descriptor) []ocispec.Descriptor {
		return slices.DeleteFunc(manifests, func(d ocispec.Descriptor) bool { return d.Digest == dgst })
	})
}

func (l layout) edit(change func([]ocispec.Descriptor) []ocispec.Descriptor) error {
	path := filepath.Join(string(l), ocispec.ImageIndexFile)
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var index ocispec.Index
	if err := json.Unmarshal(data, &index); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	index.Manifests = change(index.Manifests)
	if data, err = json.Marshal(index); err != nil {
		return err
	}
	return replace(path, data)
}

func tagOf(d ocispec.Descriptor) string { return d.Annotations[ocispec.AnnotationRefName] }

// untag removes a tag from the manifest that has it, if any.
func untag(manifests []ocispec.Descriptor, tag string) []ocispec.Descriptor {
	var lost []ocispec.Descriptor
	manifests = slices.DeleteFunc(manifests, func(d ocispec.Descriptor) bool {
		if tagOf(d) != tag {
			return false
		}
		d.Annotations = nil
		lost = append(lost, d)
		return true
	})
	for _, d := range lost {
		manifests = addUntagged(manifests, d)
	}
	return manifests
}

// addUntagged appends d to manifests, unless the list already contains its digest.
func addUntagged(manifests []ocispec.Descriptor, d ocispec.Descriptor) []ocispec.Descriptor {
	if slices.ContainsFunc(manifests, func(m ocispec.Descriptor) bool { return m.Digest == d.Digest }) {
		return manifests
	}
	return append(manifests, d)
}

// replace writes a file and renames it to path, because the server may be reading the old file.
func replace(path string, data []byte) error {
	temp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".tmp")
	if err := os.WriteFile(temp, data, 0o644); err != nil {
		return err
	}
	return os.Rename(temp, path)
}
