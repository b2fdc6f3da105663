package registry_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

const sbomType, signatureType = "application/vnd.example.sbom", "application/vnd.example.signature"

// referred serves a manifest and referrers of all kinds to it.
type referred struct {
	*server
	layout  *layouttest.Layout
	subject ocispec.Descriptor
	want    []ocispec.Descriptor // the descriptors that the server must list
}

func newReferred(tb testing.TB) *referred {
	tb.Helper()
	l := layouttest.New(tb, tb.TempDir()).Layout("app")
	r := &referred{layout: l, subject: l.Image(layouttest.Image{Name: "subject"})}
	l.Tag(r.subject, "v1")
	r.direct()
	r.byIndexes()
	l.Write()
	slices.SortFunc(r.want, func(a, b ocispec.Descriptor) int { return strings.Compare(string(a.Digest), string(b.Digest)) })
	r.server = serveBare(tb, l.Dir()+"/..")
	return r
}

// note records that the server must list d with the given artifact type and annotations.
func (r *referred) note(d ocispec.Descriptor, artifactType string, annotations map[string]string) ocispec.Descriptor {
	r.want = append(r.want, ocispec.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size,
		ArtifactType: artifactType, Annotations: annotations})
	return d
}

func (r *referred) direct() {
	l, annotations := r.layout, map[string]string{"org.example.note": "carried", "empty": ""}
	tagged := layouttest.Image{Name: "tagged", ArtifactType: sbomType, Subject: &r.subject, Annotations: annotations}
	l.Tag(r.note(l.Image(tagged), sbomType, annotations), "sbom")
	for _, name := range []string{"one", "two", "three", "four"} {
		untagged := layouttest.Image{ArtifactType: signatureType, Subject: &r.subject, Annotations: map[string]string{"name": name}}
		l.Add(r.note(l.Image(untagged), signatureType, untagged.Annotations))
	}
	// An image without an artifact type is listed with the media type of its config.
	l.Add(r.note(l.Image(layouttest.Image{Name: "image", Subject: &r.subject}), ocispec.MediaTypeImageConfig, nil))
	chart := layouttest.Image{Name: "chart", Subject: &r.subject, ConfigMediaType: "application/vnd.cncf.helm.config.v1+json"}
	l.Add(r.note(l.Image(chart), chart.ConfigMediaType, nil))
	index := layouttest.Index{Subject: &r.subject, ArtifactType: sbomType, Annotations: annotations}
	l.Add(r.note(l.Index(index), sbomType, annotations))
}

// byIndexes adds referrers that index.json does not contain, but other indexes do, such as that of
// the fallback tag. The index of the fallback tag also contains a manifest without a subject, and a
// referrer that index.json contains too.
func (r *referred) byIndexes() {
	l := r.layout
	deep := r.note(l.Image(layouttest.Image{Name: "deep", ConfigMediaType: "text/x", ArtifactType: sbomType, Subject: &r.subject}), sbomType, nil)
	inner := l.Index(layouttest.Index{Children: []ocispec.Descriptor{deep}})
	l.Tag(l.Index(layouttest.Index{Children: []ocispec.Descriptor{inner}}), "nested")
	fallback := r.note(l.Image(layouttest.Image{ConfigMediaType: "text/y", ArtifactType: signatureType, Subject: &r.subject}), signatureType, nil)
	stranger := l.Image(layouttest.Image{Name: "stranger", ArtifactType: signatureType})
	twice := ocispec.Descriptor{MediaType: r.want[0].MediaType, Digest: r.want[0].Digest, Size: r.want[0].Size}
	l.Tag(l.Index(layouttest.Index{Children: []ocispec.Descriptor{fallback, stranger, twice}}), r.fallback())
}

// fallback returns the tag in which clients store referrers if a registry has no referrers API.
func (r *referred) fallback() string { return "sha256-" + r.subject.Digest.Encoded() }

func (r *referred) path(query string) string {
	return "/v2/app/referrers/" + r.subject.Digest.String() + query
}

// referrers reads a list of referrers, and checks what must be true for every such list.
func (s *server) referrers(path string) []ocispec.Descriptor {
	s.Helper()
	r := s.get(path)
	r.wantStatus(s, http.StatusOK)
	index := decode[ocispec.Index](s, r)
	if index.SchemaVersion != 2 || index.MediaType != ocispec.MediaTypeImageIndex || index.Manifests == nil {
		s.Errorf("GET %s: got the body %s, want an image index", path, r.body)
	}
	if r.header.Get("Content-Type") != ocispec.MediaTypeImageIndex || r.header.Get("Cache-Control") != "no-cache" {
		s.Errorf("GET %s: got the headers %v, want the type of an image index and Cache-Control no-cache", path, r.header)
	}
	if head := s.head(path); head.status != r.status || head.header.Get("Content-Length") != r.header.Get("Content-Length") ||
		head.header.Get("Content-Type") != r.header.Get("Content-Type") {
		s.Errorf("HEAD %s: got status %d and the headers %v, want %d and the headers of GET", path, head.status, head.header, r.status)
	}
	return index.Manifests
}

func TestAllReferrersAreListed(t *testing.T) {
	t.Parallel()
	s := newReferred(t)
	if diff := cmp.Diff(s.want, s.referrers(s.path(""))); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(s.want, s.referrers("/mirrors/a"+s.path("?ns=registry.example&n=1"))); diff != "" {
		t.Errorf("with a prefix in the path, the list differs from the wanted one: %s", diff)
	}
	for _, d := range s.want {
		s.get("/v2/app/manifests/"+d.Digest.String()).wantFile(t, d.Digest, layouttest.ReadFile(t, s.layout.BlobPath(d.Digest)))
	}
}

func TestReferrersOfOneType(t *testing.T) {
	t.Parallel()
	s := newReferred(t)
	for _, artifactType := range []string{sbomType, signatureType, ocispec.MediaTypeImageConfig, "application/vnd.cncf.helm.config.v1+json", "no/such", "text/x"} {
		want := []ocispec.Descriptor{}
		for _, d := range s.want {
			if d.ArtifactType == artifactType {
				want = append(want, d)
			}
		}
		path := s.path("?artifactType=" + url.QueryEscape(artifactType))
		if diff := cmp.Diff(want, s.referrers(path)); diff != "" {
			t.Errorf("%s: %s", artifactType, diff)
		}
		if got := s.get(path).header.Get("OCI-Filters-Applied"); got != "artifactType" {
			t.Errorf("for the type %s, OCI-Filters-Applied is %q, want artifactType", artifactType, got)
		}
	}
}

func TestEmptyTypeDoesNotFilter(t *testing.T) {
	t.Parallel()
	s := newReferred(t)
	for _, query := range []string{"", "?artifactType=", "?other=x"} {
		if got := s.referrers(s.path(query)); len(got) != len(s.want) {
			t.Errorf("the query %q lists %d referrers, want %d", query, len(got), len(s.want))
		}
		if got := s.get(s.path(query)).header.Get("OCI-Filters-Applied"); got != "" {
			t.Errorf("the query %q is answered with OCI-Filters-Applied %q, want none", query, got)
		}
	}
}

func TestContentWithoutReferrers(t *testing.T) {
	t.Parallel()
	s := newReferred(t)
	for _, path := range []string{
		"/v2/app/referrers/" + unknownDigest,
		"/v2/app/referrers/" + unknownDigest + "?artifactType=x",
		"/v2/app/referrers/" + digest.SHA512.FromString("x").String(),
		"/v2/app/referrers/" + s.want[0].Digest.String(),
	} {
		if got := s.referrers(path); len(got) != 0 {
			t.Errorf("%s: %v", path, got)
		}
		if r := s.get(path); !strings.Contains(string(r.body), `"manifests":[]`) {
			t.Errorf("%s: %s", path, r.body)
		}
	}
	s.get("/v2/unknown/referrers/"+unknownDigest).wantError(t, http.StatusNotFound, "NAME_UNKNOWN")
	s.get("/v2/app/referrers/v1").wantError(t, http.StatusBadRequest, "DIGEST_INVALID")
}

// Referrers are listed even if their subject is missing, or if they refer to it by a sha512 digest.
func TestReferrersToMissingContent(t *testing.T) {
	t.Parallel()
	l := layouttest.New(t, t.TempDir()).Layout("app")
	want := map[digest.Digest]digest.Digest{}
	for _, subject := range []digest.Digest{digest.Digest(unknownDigest), digest.SHA512.FromString("elsewhere")} {
		d := l.Image(layouttest.Image{ArtifactType: sbomType, Algorithm: subject.Algorithm(), Subject: &ocispec.Descriptor{Digest: subject, Size: 5}})
		l.Add(d)
		want[subject] = d.Digest
	}
	l.Write()
	s := serveBare(t, l.Dir()+"/..")
	for subject, referrer := range want {
		if got := s.referrers("/v2/app/referrers/" + subject.String()); len(got) != 1 || got[0].Digest != referrer {
			t.Errorf("the subject %s has the referrers %v, want %s", subject, got, referrer)
		}
	}
}

func TestFallbackTagIsServed(t *testing.T) {
	t.Parallel()
	s := newReferred(t)
	if !slices.Contains(s.tags("app"), s.fallback()) {
		t.Errorf("the tag list does not contain the fallback tag %s, want it there", s.fallback())
	}
	index := decode[ocispec.Index](t, s.get("/v2/app/manifests/"+s.fallback()))
	if len(index.Manifests) != 3 {
		t.Errorf("the index of the fallback tag has %d children, want 3", len(index.Manifests))
	}
}

func TestDamagedReferrersAreNotListed(t *testing.T) {
	t.Parallel()
	s := newReferred(t)
	flip(t, s.layout.BlobPath(s.want[2].Digest))
	remove(t, s.layout.BlobPath(s.want[4].Digest))
	want := slices.Delete(slices.Clone(s.want), 4, 5)
	want = slices.Delete(want, 2, 3)
	if diff := cmp.Diff(want, s.referrers(s.path(""))); diff != "" {
		t.Error(diff)
	}
}

// A list of referrers can change, so it needs an ETag with which clients can revalidate it.
func TestReferrersHaveAnETag(t *testing.T) {
	t.Parallel()
	s := newReferred(t)
	for _, query := range []string{"", "?artifactType=" + url.QueryEscape(sbomType)} {
		etag := s.get(s.path(query)).header.Get("Etag")
		if etag == "" {
			t.Errorf("the list for the query %q has no ETag, want one", query)
			continue
		}
		s.get(s.path(query), "If-None-Match", etag).wantStatus(t, http.StatusNotModified)
	}
}
