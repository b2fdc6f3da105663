package acceptance

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func (f *front) manifest(l layout, name, reference string, w http.ResponseWriter, req *http.Request) error {
	switch req.Method {
	case http.MethodPut:
		return f.putManifest(l, name, reference, w, req)
	case http.MethodDelete:
		return f.deleteManifest(l, reference, w, req)
	}
	return errMethod
}

// putManifest stores a manifest. Its tag is in the path. If the path has a digest instead, the
// query may contain tags.
func (f *front) putManifest(l layout, name, reference string, w http.ResponseWriter, req *http.Request) error {
	data, err := io.ReadAll(req.Body)
	if err != nil {
		return err
	}
	d, tags := digest.FromBytes(data), []string{reference}
	if isDigest(reference) {
		if d, err = checked(reference, data); err != nil {
			return err
		}
		tags = req.URL.Query()["tag"]
		for _, tag := range tags {
			w.Header().Add("OCI-Tag", tag)
		}
	}
	var manifest struct {
		Subject *ocispec.Descriptor `json:"subject"`
	}
	if err := json.Unmarshal(data, &manifest); err != nil {
		return statusError{http.StatusBadRequest, err.Error()}
	}
	if manifest.Subject != nil {
		w.Header().Set("OCI-Subject", manifest.Subject.Digest.String())
	}
	if err := l.writeBlob(d, data); err != nil {
		return err
	}
	descriptor := ocispec.Descriptor{MediaType: req.Header.Get("Content-Type"), Digest: d, Size: int64(len(data))}
	if err := l.add(descriptor, tags...); err != nil {
		return err
	}
	return f.created(req.Context(), w, fmt.Sprintf("/v2/%s/manifests/%s", name, d), d)
}

// deleteManifest deletes a tag. If reference is a digest, it deletes the manifest and all its tags.
func (f *front) deleteManifest(l layout, reference string, w http.ResponseWriter, req *http.Request) error {
	if isDigest(reference) {
		d, err := digest.Parse(reference)
		if err != nil {
			return errBadDigest
		}
		if err := l.removeManifest(d); err != nil {
			return err
		}
		return f.deleteBlob(l, reference, w, req)
	}
	found, err := l.removeTag(reference)
	if err != nil {
		return err
	}
	if !found {
		return errUnknown
	}
	return f.deleted(req.Context(), w)
}

// deleteBlob deletes a blob or a manifest. A layout stores both in the directory blobs.
func (f *front) deleteBlob(l layout, dgst string, w http.ResponseWriter, req *http.Request) error {
	d, err := digest.Parse(dgst)
	if err != nil {
		return errBadDigest
	}
	err = os.Remove(l.blobPath(d))
	if errors.Is(err, fs.ErrNotExist) {
		return errUnknown
	}
	if err != nil {
		return err
	}
	return f.deleted(req.Context(), w)
}

// isDigest reports whether a reference is a digest. Digests contain a colon, and tags do not.
func isDigest(reference string) bool { return strings.Contains(reference, ":") }
