package registry

import (
	"net/http"
	"slices"

	versioned "github.com/opencontainers/image-spec/specs-go"
	specs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/layoutstore"
)

// referrers answers with a list of the manifests that refer to a digest. If the request names an
// artifact type, it lists only manifests of that type (distribution specification 1.1, "Listing
// Referrers").
func (r *registry) referrers(w http.ResponseWriter, req *http.Request, s *layoutstore.Snapshot, name, reference string) error {
	repo, d, err := repositoryAndDigest(s, name, reference)
	if err != nil {
		return err
	}
	found, err := repo.Referrers(req.Context(), d)
	if err != nil {
		return err
	}
	if want := req.URL.Query().Get("artifactType"); want != "" {
		found = slices.DeleteFunc(found, func(d specs.Descriptor) bool { return d.ArtifactType != want })
		w.Header().Set("OCI-Filters-Applied", "artifactType")
	}
	l, err := newList(specs.Index{
		Versioned: versioned.Versioned{SchemaVersion: 2},
		MediaType: specs.MediaTypeImageIndex,
		Manifests: found,
	})
	if err != nil {
		return err
	}
	return l.send(w, req, contentIndex)
}

var contentIndex = []string{specs.MediaTypeImageIndex}
