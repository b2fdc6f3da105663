package push_test

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/importer/push"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/registry/client"
	"github.com/layoutproxy/layoutproxy/registry/registrytest"
)

// streamFrom is the size in bytes from which the clients of the tests stream a blob.
const streamFrom = 1 << 20

// buildTree builds a tree with every kind of content: shared layers, an index, an artifact with a
// subject, an untagged image, a large blob, and an empty layout.
func buildTree(t *testing.T, dir string) *layouttest.Tree {
	t.Helper()
	tree := layouttest.New(t, dir)
	shared := []byte("a layer that several repositories have")
	root := tree.Layout(".")
	root.Tag(root.Image(layouttest.Image{Name: "root", Layers: [][]byte{shared}, LayerSizes: []int64{streamFrom + 4321}}), "v1")
	root.Add(root.Image(layouttest.Image{Name: "untagged", Layers: [][]byte{[]byte("untagged")}}))
	root.Write()
	for _, name := range []string{"alpha", "beta"} {
		l := tree.Layout("modules/" + name)
		image := l.Image(layouttest.Image{Name: name, Layers: [][]byte{shared, []byte(name)}})
		l.Tag(image, "v1.0.0")
		l.Tag(image, "stable")
		l.Tag(l.Image(layouttest.Image{Name: "signature", ArtifactType: "application/x.signature", Layers: [][]byte{[]byte("signed " + name)}, Subject: &image}), "signature")
		l.Write()
		release := tree.Layout("modules/" + name + "/release")
		release.Tag(release.Image(layouttest.Image{Name: name + " release", Layers: [][]byte{[]byte("release")}, Docker: true}), "stable")
		release.Write()
	}
	plugin := tree.Layout("deckhouse-cli/plugins/tool")
	one := plugin.Image(layouttest.Image{Name: "one", Layers: [][]byte{[]byte("one")}})
	two := plugin.Image(layouttest.Image{Name: "two", Layers: [][]byte{[]byte("two")}})
	plugin.Tag(plugin.Index(layouttest.Index{Children: []specs.Descriptor{one, two}}), "v2")
	plugin.Write()
	tree.Layout("security/empty").Write()
	return tree
}

// tagsOfTree is the number of ordinary tags in the tree of buildTree, and discoveryOfTree the
// number of its discovery tags.
const (
	tagsOfTree      = 1 + 2*3 + 2 + 1
	discoveryOfTree = 2 + 1
)

func open(t *testing.T, to client.Reference, sources ...string) *layoutstore.Snapshot {
	t.Helper()
	tree, err := layoutstore.Open(t.Context(), layoutstore.Options{Sources: sources, Roots: []string{to.Path}})
	if err != nil {
		t.Fatal(err)
	}
	return tree.Snapshot()
}

type setup struct {
	registry *registrytest.Registry
	client   *client.Client
	plan     *push.Plan
	state    *push.State
	notices  []string
	check    bool // Options.CheckBlobs
}

func newSetup(t *testing.T, registry registrytest.Options, selection push.Selection, sources ...string) *setup {
	t.Helper()
	if len(sources) == 0 {
		dir := t.TempDir()
		buildTree(t, dir)
		sources = []string{dir}
	}
	s := &setup{registry: registrytest.New(t, registry)}
	to := client.Reference{Registry: s.registry.Host, Path: "mirror/ee"}
	plan, err := push.NewPlan(t.Context(), open(t, to, sources...), to, selection)
	if err != nil {
		t.Fatal(err)
	}
	if len(plan.LeftOut) > 0 {
		t.Fatalf("content that the plan leaves out: got %v, want none", plan.LeftOut)
	}
	state, err := push.OpenState(filepath.Join(t.TempDir(), "state"))
	if err != nil {
		t.Fatal(err)
	}
	s.plan, s.state = plan, state
	s.dial(t)
	return s
}

// dial replaces the client with a new one, as if a second process continued the push.
func (s *setup) dial(t *testing.T, change ...func(*client.Options)) {
	t.Helper()
	o := client.Options{
		Registry: s.registry.Host, PlainHTTP: true, Push: true, FirstPause: time.Millisecond, Silence: 5 * time.Minute,
		StreamFrom: streamFrom, AllowPrivateRedirects: true,
		Credential: client.Credential{Username: registrytest.Username, Password: registrytest.Password, Source: "the test"},
	}
	for _, f := range change {
		f(&o)
	}
	c, err := client.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	s.client = c
}

func (s *setup) push(ctx context.Context) (push.Summary, error) {
	return push.Run(ctx, push.Options{Plan: s.plan, Client: s.client, State: s.state, CheckBlobs: s.check, Notice: func(n string) { s.notices = append(s.notices, n) }})
}

func (s *setup) mustPush(t *testing.T) push.Summary {
	t.Helper()
	summary, err := s.push(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.compare(t)
	return summary
}

// compare fails the test unless the registry has exactly the planned content.
func (s *setup) compare(t *testing.T) {
	t.Helper()
	seen := len(s.registry.Requests())
	c, err := push.Compare(t.Context(), s.client, s.plan, 4)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range c.Differences {
		t.Error(d)
	}
	for _, e := range c.Extra {
		if !strings.HasPrefix(e.Tag, "sha256-") { // this tag lists referrers
			t.Errorf("the registry has %+v, which is not in the plan, want no such tag", e)
		}
	}
	for _, r := range s.registry.Requests()[seen:] {
		if r.Method != "GET" && r.Method != "HEAD" {
			t.Errorf("the comparison sent the request %s, want only GET and HEAD", r.Kind())
		}
	}
}

func sum(counts map[string]int) (n int) {
	for _, c := range counts {
		n += c
	}
	return n
}
