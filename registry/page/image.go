package page

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/mux"
	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
)

const (
	// maxParts limits the number of entries in each list on the page of an image, such as the list
	// of layers.
	maxParts = 100
	// imagePatience limits how long a page waits for the storage to answer.
	imagePatience = 5 * time.Second
)

type imagePage struct {
	Repository repositoryRow
	// Tag is the tag in the URL; empty if the URL has a digest.
	Tag       string
	Digest    digest.Digest
	Kind      string
	MediaType string
	// Artifact is the artifact type; empty for an image.
	Artifact string
	// Size is the size of the manifest in bytes.
	Size int64
	// Total is the size of config and layers in bytes. Each blob counts once.
	Total     int64
	Platform  string
	Created   string
	Tags      []string
	MoreTags  int
	Place     place
	Commands  []command
	Node      node
	Children  []child
	Parts     []part
	Referrers []referrer
	Subject   digest.Digest
	Texts     []annotation
	Omitted   omitted
	// Problem is the reason why the manifest cannot be served. The fields with the manifest's
	// content are then empty.
	Problem *layoutstore.Problem
	// Reason explains why the manifest cannot be shown, whether the cause is a Problem or not.
	Reason string
}

// omitted contains how many entries each list leaves out.
type omitted struct{ Children, Parts, Referrers, Texts int }

type child struct {
	Digest   digest.Digest
	Kind     string
	Platform string
	Size     int64 // size of the manifest in bytes
	Reason   string
}

// part is the config or a layer of an image.
type part struct {
	Role      string
	Digest    digest.Digest
	MediaType string
	Size      int64
	Place     place
	Reason    string // why the part cannot be served; empty if it can
}

type referrer struct {
	Digest digest.Digest
	Type   string
	Size   int64
	Texts  []annotation
}

type annotation struct{ Name, Value string }

func (p *Page) image(w http.ResponseWriter, req *http.Request) {
	s := p.options.Source.Snapshot()
	name, tag, d, ok := parseReference(mux.Vars(req)["reference"])
	repo, err := s.Repository(name)
	if !ok || err != nil {
		p.fail(w, req, http.StatusNotFound, "There is no image of this name in the sources.")
		return
	}
	if tag != "" {
		if d, err = repo.TagDigest(tag); err != nil {
			p.fail(w, req, http.StatusNotFound, "The repository has no such tag.")
			return
		}
	}
	ctx, cancel := context.WithTimeout(req.Context(), imagePatience)
	defer cancel()
	page := imagePage{Repository: newRow(s, s.Roots(), name), Tag: tag, Digest: d, Node: p.node(req, p.state(ctx).status)}
	page.tags(repo)
	page.Place = findPlace(ctx, repo, d)
	title, status := name+"@"+shortDigest(d), http.StatusOK
	if tag != "" {
		title = name + ":" + tag
	}
	m, err := repo.Manifest(ctx, d)
	if err != nil {
		page.Problem, page.Reason = problemOf(err)
		status = http.StatusNotFound
	} else {
		page.read(ctx, repo, m)
	}
	p.render(w, req, status, "image", frame{Title: title, Nav: "repositories", Content: page})
}

// problemOf returns the problem in an error, or nil, and the reason as text.
func problemOf(err error) (*layoutstore.Problem, string) {
	var refused *layoutstore.ProblemError
	switch {
	case errors.As(err, &refused):
		return &refused.Problem, refused.Problem.Reason
	case errors.Is(err, layoutstore.ErrManifestUnknown), errors.Is(err, layoutstore.ErrBlobUnknown):
		return nil, "not in the sources"
	}
	return nil, err.Error()
}

func (page *imagePage) tags(repo *layoutstore.Repository) {
	for tag := range repo.AllTags("") {
		if d, err := repo.TagDigest(tag); err != nil || d != page.Digest {
			continue
		}
		if len(page.Tags) < maxParts {
			page.Tags = append(page.Tags, tag)
		} else {
			page.MoreTags++
		}
	}
}

// read adds the content of a manifest to the page, and the places of its blobs.
func (page *imagePage) read(ctx context.Context, repo *layoutstore.Repository, m *layoutstore.Manifest) {
	page.MediaType, page.Size, page.Kind = m.MediaType, m.Size, kindOf(m.MediaType)
	refs, err := closure.Parse(m.Body)
	if err != nil { // an index may contain the descriptor of a blob as if it were a manifest
		page.Commands = commandsFor(page, false)
		return
	}
	page.Artifact = refs.ArtifactType
	runnable := len(refs.Children) > 0
	if len(refs.Blobs) > 0 && (refs.Blobs[0].MediaType == specs.MediaTypeImageConfig || refs.Blobs[0].MediaType == dockerConfig) {
		runnable, page.Artifact = true, ""
		page.config(ctx, repo, refs.Blobs[0].Digest)
	}
	if repo.IsDiscovery(page.Digest) {
		page.Kind, runnable = "discovery", false
	}
	page.children(ctx, repo, refs, m.Body)
	page.parts(ctx, repo, refs)
	page.referrers(ctx, repo)
	if refs.Subject != nil {
		page.Subject = refs.Subject.Digest
	}
	page.Texts, page.Omitted.Texts = annotations(refs.Annotations, maxParts)
	page.Commands = commandsFor(page, runnable)
}

// dockerConfig is the media type of an image config in Docker's format (schema 2).
const dockerConfig = "application/vnd.docker.container.image.v1+json"

// maxConfig is the size, in bytes, of the largest config that is read for a page.
const maxConfig = 1 << 20

func (page *imagePage) config(ctx context.Context, repo *layoutstore.Repository, d digest.Digest) {
	blob, err := repo.OpenBlob(ctx, d, func(size int64) (off, n int64) { return 0, size })
	if err != nil {
		return // the list of parts shows why the config cannot be read
	}
	defer blob.Close()
	if blob.Size > maxConfig {
		return
	}
	var image specs.Image
	if json.NewDecoder(blob).Decode(&image) != nil {
		return
	}
	page.Platform = platformOf(&image.Platform)
	if image.Created != nil {
		page.Created = image.Created.UTC().Format("2006-01-02 15:04 UTC")
	}
}

func platformOf(p *specs.Platform) string {
	if p == nil || p.OS == "" && p.Architecture == "" {
		return ""
	}
	return strings.TrimSuffix(p.OS+"/"+p.Architecture+"/"+p.Variant, "/")
}

// children adds the manifests in an index to the page. Only the descriptors in the index contain
// the platforms of these manifests.
func (page *imagePage) children(ctx context.Context, repo *layoutstore.Repository, refs closure.Refs, body []byte) {
	platforms := map[digest.Digest]string{}
	var index specs.Index
	if json.Unmarshal(body, &index) == nil {
		for _, d := range index.Manifests {
			platforms[d.Digest] = platformOf(d.Platform)
		}
	}
	for _, d := range refs.Children[:min(maxParts, len(refs.Children))] {
		one := child{Digest: d.Digest, Kind: kindOf(d.MediaType), Platform: platforms[d.Digest], Size: d.Size}
		if _, err := repo.Manifest(ctx, d.Digest); err != nil {
			_, one.Reason = problemOf(err)
		}
		page.Children = append(page.Children, one)
	}
	page.Omitted.Children = len(refs.Children) - len(page.Children)
}

func (page *imagePage) parts(ctx context.Context, repo *layoutstore.Repository, refs closure.Refs) {
	seen := map[digest.Digest]bool{}
	for i, d := range refs.Blobs {
		if !seen[d.Digest] {
			seen[d.Digest] = true
			page.Total += d.Size
		}
		if len(page.Parts) == maxParts {
			page.Omitted.Parts++
			continue
		}
		one := part{Role: "layer", Digest: d.Digest, MediaType: d.MediaType, Size: d.Size}
		if i == 0 && page.Kind != "artifact" {
			one.Role = "config"
		}
		switch _, err := repo.Blob(ctx, d.Digest); {
		case err == nil:
			one.Place = findPlace(ctx, repo, d.Digest)
		case d.Optional:
			one.Reason = "not in the bundle: this kind of layer may not be distributed"
		default:
			_, one.Reason = problemOf(err)
		}
		page.Parts = append(page.Parts, one)
	}
}

func (page *imagePage) referrers(ctx context.Context, repo *layoutstore.Repository) {
	found, err := repo.Referrers(ctx, page.Digest)
	if err != nil {
		return
	}
	for _, d := range found[:min(maxParts, len(found))] {
		one := referrer{Digest: d.Digest, Type: d.ArtifactType, Size: d.Size}
		one.Texts, _ = annotations(d.Annotations, 5)
		page.Referrers = append(page.Referrers, one)
	}
	page.Omitted.Referrers = len(found) - len(page.Referrers)
}

// annotations returns the first n annotations, sorted by name. more is the number of annotations
// that are left out.
func annotations(all map[string]string, n int) (list []annotation, more int) {
	keys := slices.Sorted(maps.Keys(all))
	for _, key := range keys[:min(n, len(keys))] {
		list = append(list, annotation{key, all[key]})
	}
	return list, len(keys) - len(list)
}
