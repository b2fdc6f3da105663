package push_test

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	specs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/importer/push"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/registry/client"
	"github.com/layoutproxy/layoutproxy/registry/registrytest"
)

// The expected names are from section 8.2 of docs/mirror-bundle-layout.md (2026-10-01) in
// deckhouse-cli.
func TestNamesInRegistry(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		to, path  string
		selection push.Selection
		want      string
	}{
		{"deckhouse/ee", ".", push.Selection{}, "deckhouse/ee"},
		{"deckhouse/ee", "install", push.Selection{}, "deckhouse/ee/install"},
		{"deckhouse/ee", "installer", push.Selection{}, "deckhouse/installer"},
		{"deckhouse/ee", "deckhouse-cli", push.Selection{}, "deckhouse/deckhouse-cli"},
		{"deckhouse/ee", "deckhouse-cli/plugins", push.Selection{}, "deckhouse/deckhouse-cli/plugins"},
		{"deckhouse/ee", "deckhouse-cli/plugins/x", push.Selection{ModulesPath: "/"}, "deckhouse/deckhouse-cli/plugins/x"},
		{"deckhouse/ee", "modules/x/release", push.Selection{ModulesPath: "/"}, "deckhouse/ee/x/release"},
		{"deckhouse/ee", "modules", push.Selection{ModulesPath: "/"}, "deckhouse/ee"},
		{"deckhouse/ee", "modules/installer", push.Selection{ModulesPath: "/"}, "deckhouse/ee/installer"}, // this is a module with the name installer
		{"deckhouse/ee", "installer", push.Selection{NoEditionSplit: true}, "deckhouse/ee/installer"},
		{"system/deckhouse", "installer", push.Selection{}, "system/deckhouse/installer"},
		{"ee", "installer", push.Selection{}, "ee/installer"},
		{"", "installer", push.Selection{}, "installer"},
		{"", ".", push.Selection{}, ""},
		{"a/b/se-plus", "deckhouse-cli/plugins/x", push.Selection{}, "a/b/deckhouse-cli/plugins/x"},
	} {
		if got := c.selection.Name(client.Reference{Registry: "registry.example", Path: c.to}, c.path); got != c.want {
			t.Errorf("path %s pushed to %q with %+v: got the name %q, want %q", c.path, c.to, c.selection, got, c.want)
		}
	}
}

// A user may be allowed to write below an edition but not beside it, or the other way round. A push
// reports this before it sends anything.
func TestPreflightTriesPathsBesideEdition(t *testing.T) {
	t.Parallel()
	for _, refused := range []string{"/v2/mirror/ee/", "/v2/mirror/deckhouse-cli/"} {
		s := newSetup(t, registrytest.Options{}, push.Selection{})
		s.registry.Inject(registrytest.AnswerCode(func(r *http.Request) bool {
			return r.Method == http.MethodPost && strings.HasPrefix(r.URL.Path, refused)
		}, 403, "DENIED"))
		_, err := s.push(t.Context())
		var side *push.Error
		if !errors.As(err, &side) || !strings.HasPrefix("/v2/"+side.Repository+"/", refused) {
			t.Errorf("writing to %s is refused: got error %v, want one that names the repository", refused, err)
		}
		for _, r := range s.registry.Requests() {
			if r.Method == http.MethodPut {
				t.Errorf("writing to %s is refused: the push sent %s %s before it failed, want no PUT request", refused, r.Method, r.Path)
			}
		}
	}
}

// If all content is written beside the edition, the preflight tries only paths beside it.
func TestPreflightTriesOnlyWrittenPaths(t *testing.T) {
	t.Parallel()
	s := newSetup(t, registrytest.Options{}, push.Selection{Include: []string{"deckhouse-cli"}})
	s.mustPush(t)
	for _, r := range s.registry.Requests() {
		if r.Method == http.MethodPost && !strings.HasPrefix(r.Path, "/v2/mirror/deckhouse-cli/") {
			t.Errorf("%s %s", r.Method, r.Path)
		}
	}
}

// If the short tag of an image is a digest, the image is pushed by digest, without a tag.
func TestPushByDigest(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	tree := layouttest.New(t, dir)
	l := tree.Layout("modules/console")
	var images []specs.Descriptor
	for _, form := range []string{"sha256:", "@sha256:"} {
		d := l.Image(layouttest.Image{Name: form})
		d.Annotations = map[string]string{layouttest.AnnotationShortTag: form + d.Digest.Encoded()}
		l.Add(d)
		images = append(images, d)
	}
	l.Tag(l.Image(layouttest.Image{Name: "tagged"}), "v1")
	l.Write()
	s := newSetup(t, registrytest.Options{}, push.Selection{}, dir)
	s.mustPush(t)
	tags, err := s.client.Tags(t.Context(), "mirror/ee/modules/console")
	if diff := cmp.Diff([]string{"v1"}, tags); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
	for _, d := range images {
		if _, err := s.client.Manifest(t.Context(), "mirror/ee/modules/console", d.Digest.String()); err != nil {
			t.Errorf("%s: %v", d.Digest, err)
		}
	}
}

// If modules are pushed to the destination itself, their discovery tags are pushed there, too.
func TestDiscoveryTagsOfModulesAtDestination(t *testing.T) {
	t.Parallel()
	s := newSetup(t, registrytest.Options{}, push.Selection{ModulesPath: "/"})
	s.mustPush(t)
	for repository, want := range map[string][]string{"mirror/ee": {"alpha", "beta", "v1"}, "mirror/deckhouse-cli/plugins": {"tool"}} {
		tags, err := s.client.Tags(t.Context(), repository)
		slices.Sort(tags)
		if diff := cmp.Diff(want, tags); diff != "" || err != nil {
			t.Errorf("tags of %s: got error %v, want none and these tags (-want +got):\n%s", repository, err, diff)
		}
	}
}
