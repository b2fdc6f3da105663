package registry

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"

	"github.com/opencontainers/go-digest"
	versioned "github.com/opencontainers/image-spec/specs-go"
	specs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/layoutstore"
)

// referrers answers the list of what refers to a digest, all of one artifact
// type where one is asked for (distribution specification 1.1, "Listing Referrers").
func (r *registry) referrers(w http.ResponseWriter, req *http.Request, s *layoutstore.Snapshot, name, reference string) error {
	var d digest.Digest
	repo, err := repository(s, name, func() (err error) {
		d, err = parseDigest(reference)
		return err
	})
	if err != nil {
		return err
	}
	found, err := repo.Referrers(d)
	if err != nil {
		return err
	}
	h := w.Header()
	if want := req.URL.Query().Get("artifactType"); want != "" {
		found = slices.DeleteFunc(found, func(d specs.Descriptor) bool { return d.ArtifactType != want })
		h.Set("OCI-Filters-Applied", "artifactType")
	}
	body, err := json.Marshal(specs.Index{
		Versioned: versioned.Versioned{SchemaVersion: 2},
		MediaType: specs.MediaTypeImageIndex,
		Manifests: found,
	})
	if err != nil {
		return err
	}
	h.Set("Content-Type", specs.MediaTypeImageIndex)
	h["Cache-Control"] = noCache
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if req.Method == http.MethodHead {
		return nil
	}
	_, err = w.Write(body)
	return written(err)
}
