package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"path"
	"runtime"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/layoutstore/platform"
	"github.com/layoutproxy/layoutproxy/registry/client"
)

// manifest contains the parts of a manifest or index that are checked.
type manifest struct {
	MediaType string               `json:"mediaType"`
	Config    *ocispec.Descriptor  `json:"config"`
	Layers    []ocispec.Descriptor `json:"layers"`
	Manifests []ocispec.Descriptor `json:"manifests"`
}

// contradiction explains why containerd refuses a manifest, or returns "". containerd refuses a
// manifest that looks like both an image and an index (CVE-2021-41190), or that contradicts the
// Content-Type of the answer.
func (m manifest) contradiction(contentType string) string {
	announced, _, err := mime.ParseMediaType(contentType)
	switch {
	case m.Manifests != nil && (m.Layers != nil || m.Config != nil):
		return "it has manifests like an index, but also a config or layers like an image"
	case m.MediaType != "" && err == nil && announced != m.MediaType:
		return fmt.Sprintf("its mediaType is %q, but the answer's Content-Type is %q", m.MediaType, announced)
	}
	return ""
}

// accept is the Accept header that containerd sends when it resolves a tag.
const accept = "application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json, " +
	"application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, */*"

func (d *doctor) adviceMissing() string {
	return fmt.Sprintf("check what the server has: open %s/v2/%s/tags/list, or run layoutproxy list SOURCE; /status at the admin address lists problems; a repository's name is the root repository, followed by the path in the bundle",
		d.url, d.image.repository)
}

func (d *doctor) resolveTag(ctx context.Context) Step {
	if d.image.repository == "" {
		return skipped("no image was given")
	}
	if d.image.tag == "" {
		return skipped("the image has only a digest")
	}
	var a answer
	var what string
	step, bad := d.tryNames(ctx, func() (step Step, bad bool) {
		what = d.image.repository + ":" + d.image.tag
		a, step, bad = d.ask(ctx, http.MethodHead, "manifests/"+d.image.tag, what)
		return step, bad
	})
	if bad {
		return step
	}
	dgst, err := digest.Parse(a.header.Get("Docker-Content-Digest"))
	const advice = "to resolve a tag, containerd needs Docker-Content-Digest, Content-Length and Content-Type: check whether a proxy in front of the registry removes these headers from answers to HEAD"
	switch {
	case err != nil:
		return failed(advice, "HEAD %s: Docker-Content-Digest is %q", what, a.header.Get("Docker-Content-Digest"))
	case a.length <= 0:
		return failed(advice, "HEAD %s: no Content-Length", what)
	case a.header.Get("Content-Type") == "":
		return failed(advice, "HEAD %s: no Content-Type", what)
	case d.image.digest != "" && d.image.digest != dgst:
		return warning("harmless: containerd uses the digest", "%s is %s now, but the image was given with the digest %s", what, dgst, d.image.digest)
	}
	d.image.digest = dgst
	return ok("%s is %s, %d bytes", what, dgst, a.length)
}

// tryNames calls request. If the registry refuses it for an image with a name of one segment, tryNames calls it again
// with the name below library/: clients request an official image there. Some registries do not answer 404 if a
// repository does not exist. If both names fail, tryNames restores the first one, and returns a step about both. If the
// registry sends damaged content, it has the name, so tryNames does not try the other one.
func (d *doctor) tryNames(ctx context.Context, request func() (step Step, bad bool)) (step Step, bad bool) {
	step, bad = request()
	damage := step.Content && !strings.Contains(step.Detail, missingMark)
	if !bad || damage || !d.image.isOfficial() || step.Advice == adviceNoAnswer {
		return step, bad
	}
	name, auth := d.image.repository, d.auth
	d.image.repository = "library/" + name
	d.renewLogin(ctx)
	other, alsoBad := request()
	if !alsoBad {
		return other, false
	}
	d.image.repository, d.auth = name, auth
	if what, _, missing := strings.Cut(other.Detail, missingMark); missing && strings.Contains(step.Detail, missingMark) {
		step.Detail += "; " + what + " is missing too"
	} else {
		step.Detail += "; " + other.Detail
	}
	return step, true
}

// ask requests a path in the image's repository. Unless it gets an answer with status 200, it returns
// a failed step, and bad is true.
func (d *doctor) ask(ctx context.Context, method, path, what string) (a answer, step Step, bad bool) {
	a, err := d.send(ctx, method, d.image.repository+"/"+path, map[string]string{"Accept": accept}, maxErrorBody)
	if err != nil {
		return a, failed(adviceNoAnswer, "%s %s: %v", method, what, err), true
	}
	if a.code == http.StatusOK {
		return a, Step{}, false
	}
	if method == http.MethodHead { // only the answer to a GET request has a body, which contains the reason
		if again, err := d.send(ctx, http.MethodGet, d.image.repository+"/"+path, nil, maxErrorBody); err == nil && again.code == a.code {
			a.body = again.body
		}
	}
	return a, d.refused(a, what), true
}

// adviceNoAnswer is the advice if a request for a manifest got no complete answer.
const adviceNoAnswer = "check the server's log"

// missingMark follows the name of missing content in the details of steps.
const missingMark = ": 404"

func (d *doctor) refused(a answer, what string) Step {
	reason := errorsOf(a.body)
	switch a.code {
	case http.StatusNotFound:
		return damaged(d.adviceMissing(), "%s", what+missingMark+reason)
	case http.StatusUnauthorized, http.StatusForbidden:
		return failed("this login may not pull from this repository", "%s: %s%s", what, a.status, reason)
	}
	return failed("check the log of the server, or of the proxy in front of it", "%s: %s%s", what, a.status, reason)
}

func (d *doctor) fetchManifest(ctx context.Context) Step {
	if d.image.repository == "" {
		return skipped("no image was given")
	}
	var size int64
	get := func() (step Step, bad bool) {
		d.manifest, size, step, bad = d.get(ctx, d.image.digest, -1)
		return step, bad
	}
	try := get
	if d.image.tag == "" { // otherwise, the step about the tag has found the name
		try = func() (Step, bool) { return d.tryNames(ctx, get) }
	}
	if step, bad := try(); bad {
		return step
	}
	kind := "image"
	if len(d.manifest.Manifests) > 0 {
		kind = "index"
	}
	return ok("%s, %s, %d bytes, digest verified", d.image.digest, kind, size)
}

// get fetches a manifest and checks its digest. Unless size is negative, get also checks the size.
func (d *doctor) get(ctx context.Context, dgst digest.Digest, size int64) (m manifest, got int64, step Step, bad bool) {
	what := d.image.repository + "@" + dgst.String()
	const advice = "the content was changed in transit or on disk: run layoutproxy verify to find the damaged file"
	a, err := d.send(ctx, http.MethodGet, d.image.repository+"/manifests/"+dgst.String(), map[string]string{"Accept": accept}, client.MaxManifest+1)
	body := a.body
	switch {
	case err != nil:
		return m, 0, failed(adviceNoAnswer, "GET %s: %v", what, err), true
	case a.code != http.StatusOK:
		return m, 0, d.refused(a, what), true
	case len(body) > client.MaxManifest:
		return m, 0, damaged("containerd accepts no larger manifests", "%s: larger than %d bytes", what, client.MaxManifest), true
	case dgst.Algorithm().FromBytes(body) != dgst:
		return m, 0, damaged(advice, "%s: checksum mismatch: content is %s", what, dgst.Algorithm().FromBytes(body)), true
	case size >= 0 && int64(len(body)) != size:
		return m, 0, damaged(advice, "%s has %d bytes, but its index says %d", what, len(body), size), true
	}
	if err := json.Unmarshal(body, &m); err != nil {
		return m, 0, damaged(advice, "%s: %v", what, err), true
	}
	if why := m.contradiction(a.header.Get("Content-Type")); why != "" {
		return m, 0, damaged("containerd refuses it: rebuild the image, and push or pull it again", "%s: %s", what, why), true
	}
	return m, int64(len(body)), Step{}, false
}

// At most maxChildren manifests of an index are checked, at up to maxDepth nesting levels.
const (
	maxChildren = 100
	maxDepth    = 4
)

// fetchChildren fetches the manifests in an index for all platforms, as containerd 2.x does.
func (d *doctor) fetchChildren(ctx context.Context) Step {
	if d.image.repository == "" {
		return skipped("no image was given")
	}
	if len(d.manifest.Manifests) == 0 {
		d.leaf = d.manifest
		return skipped("the image is not an index")
	}
	c := children{doctor: d}
	if step, bad := c.fetch(ctx, d.manifest, 1); bad {
		return step
	}
	d.leaf = c.leaf
	if c.fit == fitsNot {
		return warning("this node cannot run any image of the index; other nodes may", "%d manifests, none for %s: %s", c.count, hostPlatform(), strings.Join(c.platforms, ", "))
	}
	return ok("%d manifests, one for %s", c.count, hostPlatform())
}

type children struct {
	*doctor
	count     int
	platforms []string
	leaf      manifest // the first manifest with the best fit
	fit       int
}

// fetch fetches the manifests in an index that is nested at the given depth.
func (c *children) fetch(ctx context.Context, index manifest, depth int) (step Step, bad bool) {
	if depth > maxDepth {
		return damaged("no client follows indexes that are nested so deeply", "the indexes are nested at least %d levels deep", depth), true
	}
	for _, child := range index.Manifests {
		if c.count++; c.count > maxChildren {
			return Step{}, false
		}
		if err := child.Digest.Validate(); err != nil {
			return damaged("the index is invalid: rebuild the image", "malformed digest %q of a child: %v", child.Digest, err), true
		}
		m, _, step, bad := c.get(ctx, child.Digest, child.Size)
		if bad {
			return step, true
		}
		if len(m.Manifests) > 0 {
			if step, bad := c.fetch(ctx, m, depth+1); bad {
				return step, true
			}
			continue
		}
		c.add(child, m)
	}
	return Step{}, false
}

func (c *children) add(child ocispec.Descriptor, m manifest) {
	if child.Platform != nil {
		c.platforms = append(c.platforms, path.Join(child.Platform.OS, child.Platform.Architecture, child.Platform.Variant))
	}
	fit := fitOf(child.Platform, &ocispec.Platform{OS: runtime.GOOS, Architecture: runtime.GOARCH})
	if fit > c.fit || c.leaf.Config == nil {
		c.leaf = m
	}
	c.fit = max(c.fit, fit)
}

// These values say how well an image fits a node.
const (
	fitsNot = iota
	fits
	fitsExactly
)

func fitOf(image, host *ocispec.Platform) int {
	switch {
	case platform.Same(image, host):
		return fitsExactly
	case platform.RunsOn(image, host):
		return fits
	}
	return fitsNot
}

func hostPlatform() string { return runtime.GOOS + "/" + runtime.GOARCH }

func (d *doctor) describeBlob(desc ocispec.Descriptor) string {
	return fmt.Sprintf("blob %s of %s", desc.Digest, d.image.repository)
}
