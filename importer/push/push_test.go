package push_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/importer/push"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/registry/client"
	"github.com/layoutproxy/layoutproxy/registry/registrytest"
)

// A push has the same result for every kind of registry.
func TestPushIntoRegistries(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	buildTree(t, dir)
	for name, o := range map[string]registrytest.Options{
		"open":   {},
		"basic":  {Basic: true},
		"tokens": {Token: true},
		"another implementation": {Handler: registry.New(registry.WithReferrersSupport(true),
			registry.Logger(quiet()))},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSetup(t, o, push.Selection{}, dir)
			summary := s.mustPush(t)
			if summary.Tags.Pushed != tagsOfTree+discoveryOfTree || summary.Tags.Present != 0 || !summary.Complete {
				t.Errorf("%+v", summary)
			}
			again, err := s.push(t.Context())
			if err != nil || again.Tags.Pushed+again.Manifests.Pushed+again.Blobs.Pushed+again.Blobs.Mounted > 0 || again.Tags.Present != tagsOfTree+discoveryOfTree {
				t.Errorf("%+v, %v", again, err)
			}
		})
	}
}

// A push of a tree, of archives and of chunks has the same result.
func TestPushFromAnySource(t *testing.T) {
	t.Parallel()
	tree := buildTree(t, t.TempDir())
	archives, chunks := t.TempDir(), t.TempDir()
	tree.Bundle(archives)
	tree.Archive(filepath.Join(chunks, "all.tar"), layouttest.Archive{})
	layouttest.Split(t, filepath.Join(chunks, "all.tar"), 300_000)
	first := newSetup(t, registrytest.Options{}, push.Selection{}, tree.Dir())
	first.mustPush(t)
	for name, source := range map[string]string{"archives": archives, "chunks": chunks} {
		t.Run(name, func(t *testing.T) {
			s := newSetup(t, registrytest.Options{}, push.Selection{}, source)
			s.mustPush(t)
			s.plan = first.plan // the plan of the complete tree
			s.compare(t)
		})
	}
}

// The first push sends each blob once, one PUT request per tag, and HEAD requests to only two of the
// missing repositories. The second push sends one HEAD request per tag and untagged manifest.
func TestRequestsOfPush(t *testing.T) {
	t.Parallel()
	s := newSetup(t, registrytest.Options{}, push.Selection{})
	if _, err := s.push(t.Context()); err != nil {
		t.Fatal(err)
	}
	totals := s.plan.Totals()
	kinds := s.registry.Kinds()
	tags, untagged := tagsOfTree+discoveryOfTree, 3
	// The push sends a HEAD request to the first repository, and to the repository whose first
	// manifest has no tag. For the others, it learns from the list of tags that they are missing.
	const first = 1 + 1
	want := map[string]int{
		"GET /v2/": 1,
		"GET tags": totals.Repositories,
		// The proof sends one HEAD request per PUT of a manifest, and one per blob and repository.
		"HEAD manifests": first + tags + untagged + 2,
		"HEAD blobs":     totals.Blobs + totals.Mounts,
		"GET referrers":  1,
		"GET manifests":  1 + 2, // two of these requests are for referrers tags
		"PUT manifests":  tags + untagged + 2,
		// The preflight starts four uploads below and beside the edition. Half of them try a mount.
		"POST uploads":   totals.Blobs + totals.Mounts + 4,
		"PUT uploads":    totals.Blobs,
		"PATCH uploads":  1 + 2,
		"DELETE uploads": 4,
	}
	for kind, n := range want {
		if kinds[kind] != n {
			t.Errorf("requests of the kind %s: got %d, want %d", kind, kinds[kind], n)
		}
	}
	if sum(kinds) != sum(want) {
		t.Errorf("%v", kinds)
	}
	s.registry.Forget()
	s.dial(t)
	if _, err := s.push(t.Context()); err != nil {
		t.Fatal(err)
	}
	kinds = s.registry.Kinds()
	if kinds["HEAD manifests"] != tags+untagged || sum(kinds) != tags+untagged+1 {
		t.Errorf("the second push sent %v, want one HEAD for each of the %d references, and GET /v2/", kinds, tags+untagged)
	}
}

// A push sends content before the manifests that refer to it. Then it sends tags, and finally
// discovery tags.
func TestOrderOfPush(t *testing.T) {
	t.Parallel()
	s := newSetup(t, registrytest.Options{}, push.Selection{})
	s.mustPush(t)
	discovery, tagged, content := -1, -1, -1
	for i, r := range s.registry.Requests() {
		switch {
		case r.Kind() == "PUT manifests" && (strings.HasPrefix(r.Path, "/v2/mirror/ee/modules/manifests/") || strings.HasPrefix(r.Path, "/v2/mirror/deckhouse-cli/plugins/manifests/")):
			if discovery < 0 {
				discovery = i
			}
		case r.Kind() == "PUT manifests" && strings.Contains(r.Path, "/sha256:"), r.Kind() == "PUT uploads":
			content = i
			if tagged >= 0 {
				t.Fatalf("the push sent %s after a tag, want all content before the first tag", r.Path)
			}
		case r.Kind() == "PUT manifests" && !strings.Contains(r.Path, "/sha256-"):
			tagged = i
			if discovery >= 0 {
				t.Fatalf("the push sent %s after a discovery tag, want all discovery tags last", r.Path)
			}
		}
	}
	if discovery < 0 || tagged < 0 || content < 0 {
		t.Fatalf("position of the first request that puts a discovery tag: %d, of the last that puts a tag: %d, of the last that puts content: %d; want no -1, which means no such request", discovery, tagged, content)
	}
}

func TestTagsAreReplaced(t *testing.T) {
	t.Parallel()
	s := newSetup(t, registrytest.Options{}, push.Selection{})
	s.mustPush(t)
	dir := t.TempDir()
	tree := layouttest.New(t, dir)
	l := tree.Layout("modules/alpha")
	l.Tag(l.Image(layouttest.Image{Name: "newer", Layers: [][]byte{[]byte("newer")}}), "stable")
	l.Write()
	to := client.Reference{Registry: s.registry.Host, Path: "mirror/ee"}
	plan, err := push.NewPlan(t.Context(), open(t, to, dir), to, push.Selection{})
	if err != nil {
		t.Fatal(err)
	}
	s.plan = plan
	summary, err := s.push(t.Context())
	if err != nil || summary.Tags.Replaced != 1 || summary.Tags.Pushed != 1 || summary.Tags.Present != 1 {
		t.Errorf("%+v, %v", summary, err)
	}
	c, err := push.Compare(t.Context(), s.client, s.plan, 2)
	if err != nil || len(c.Differences) != 0 || !slices.Contains(c.Extra, push.Extra{Repository: "mirror/ee/modules/alpha", Tag: "v1.0.0"}) {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestSelection(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		selection push.Selection
		want      string
	}{
		"one module":                     {push.Selection{Include: []string{"modules/alpha"}}, "modules:alpha modules/alpha modules/alpha/release"},
		"no module":                      {push.Selection{Exclude: []string{"modules"}}, "../deckhouse-cli/plugins:tool ../deckhouse-cli/plugins/tool ."},
		"no module, with NoEditionSplit": {push.Selection{Exclude: []string{"modules"}, NoEditionSplit: true}, ". deckhouse-cli/plugins:tool deckhouse-cli/plugins/tool"},
		"beside the edition":             {push.Selection{Include: []string{"deckhouse-cli/**"}}, "../deckhouse-cli/plugins:tool ../deckhouse-cli/plugins/tool"},
		"the root":                       {push.Selection{Include: []string{"."}}, "."},
		"releases":                       {push.Selection{Include: []string{"**/release"}}, "modules:alpha,beta modules/alpha/release modules/beta/release"},
		"all modules except one":         {push.Selection{Include: []string{"modules/*"}, Exclude: []string{"modules/b*"}}, "modules:alpha modules/alpha modules/alpha/release"},
		"modules elsewhere":              {push.Selection{Include: []string{"modules/alpha"}, ModulesPath: "/a/b/"}, "a/b:alpha a/b/alpha a/b/alpha/release"},
		"modules in the destination itself": {push.Selection{Include: []string{"modules/alpha", "."}, ModulesPath: "/"},
			".:alpha alpha alpha/release"},
		"nothing": {push.Selection{Include: []string{"nothing"}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSetup(t, registrytest.Options{}, test.selection)
			var got []string
			for _, r := range s.plan.Repositories {
				path := strings.TrimPrefix(strings.TrimPrefix(r.Name, "mirror/ee"), "/")
				if below, beside := strings.CutPrefix(path, "mirror/"); beside {
					path = "../" + below
				}
				if path == "" {
					path = "."
				}
				var discovery []string
				for _, tag := range r.Tags {
					if tag.Discovery {
						discovery = append(discovery, tag.Name)
					}
				}
				if len(discovery) > 0 {
					path += ":" + strings.Join(discovery, ",")
				}
				got = append(got, path)
			}
			if strings.Join(got, " ") != test.want {
				t.Errorf("the plan has the repositories %q, want %q", got, test.want)
			}
			if len(got) > 0 {
				s.mustPush(t)
			}
		})
	}
}

func TestMalformedGlobs(t *testing.T) {
	t.Parallel()
	for _, s := range []push.Selection{{Include: []string{"[a"}}, {Exclude: []string{""}}} {
		if s.Check() == nil {
			t.Errorf("%+v", s)
		}
	}
}

// A plan fails if the root layout gets no name, or if a name is too long for a registry.
func TestIllegalNames(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	buildTree(t, dir)
	for _, path := range []string{"", strings.Repeat("a", 250)} {
		to := client.Reference{Registry: "localhost:1", Path: path}
		if _, err := push.NewPlan(t.Context(), open(t, to, dir), to, push.Selection{}); !errors.Is(err, push.ErrName) {
			t.Errorf("%.20q: %v", path, err)
		}
	}
}

// An interrupted push leaves no tag that leads to missing content. The next push resumes.
func TestInterruptedPushes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	buildTree(t, dir)
	interrupted, stride := 0, 16
	if os.Getenv("LAYOUTPROXY_TEST_ALL") != "" {
		stride = 1
	}
	for n := 3; n < 70; n += stride {
		s := newSetup(t, registrytest.Options{}, push.Selection{}, dir)
		ctx, cancel := context.WithCancel(t.Context())
		everything := registrytest.Nth(n, 1<<30, func(*http.Request) bool { return true })
		s.registry.Inject(func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
			if everything(r) {
				cancel()
			}
			return false
		})
		_, err := s.push(ctx)
		cancel()
		if err == nil {
			continue // the push ended before the nth request
		}
		interrupted++
		if !errors.Is(err, context.Canceled) {
			t.Errorf("push interrupted at request %d: got error %v, want context.Canceled", n, err)
		}
		s.registry.Heal()
		s.dial(t)
		isComplete(t, s)
		s.mustPush(t)
	}
	if interrupted < 3 {
		t.Errorf("the test interrupted only %d pushes, want at least 3", interrupted)
	}
}

// isComplete fails the test if a tag in the registry leads to incomplete content.
func isComplete(t *testing.T, s *setup) {
	t.Helper()
	c, err := push.Compare(t.Context(), s.client, s.plan, 4)
	if err != nil {
		t.Fatal(err)
	}
	missing := map[string]bool{}
	for _, d := range c.Differences {
		missing[d.Repository+"@"+d.Digest.String()] = true
		if d.Kind != push.Missing && d.Kind != push.NotListed {
			t.Errorf("%v", d)
		}
	}
	for _, r := range s.plan.Repositories {
		for _, m := range r.Manifests {
			if m.Discovery || len(m.Tags) == 0 || missing[r.Name+"@"+m.Digest.String()] {
				continue
			}
			for _, b := range m.Blobs {
				if missing[r.Name+"@"+b.Digest.String()] {
					t.Errorf("the registry has the tag %s:%s, but not the blob %s of its image, want no tag before its content", r.Name, m.Tags[0], b.Digest)
				}
			}
			for _, child := range m.Refs.Children {
				if missing[r.Name+"@"+child.Digest.String()] {
					t.Errorf("the registry has the tag %s:%s, but not the child %s of its index, want no tag before its content", r.Name, m.Tags[0], child.Digest)
				}
			}
		}
	}
}

type counter struct {
	mu             sync.Mutex
	expected, done int64
	open           int
}

func (c *counter) Expect(bytes int64) { c.expected = bytes }

func (c *counter) Begin(_ string, size int64) push.Transfer {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open++
	return &counted{c: c, size: size}
}

type counted struct {
	c    *counter
	size int64
}

func (t *counted) At(int64) {}

func (t *counted) End(done bool) {
	t.c.mu.Lock()
	defer t.c.mu.Unlock()
	t.c.open--
	if done {
		t.c.done += t.size
	}
}

// Progress receives each expected byte once, whether its blob is sent, mounted, sent twice or
// already present.
func TestProgressIsReported(t *testing.T) {
	t.Parallel()
	const there = "blobs already present"
	for name, fault := range map[string]registrytest.Fault{
		"as usual":  nil,
		"no mounts": registrytest.Answer(func(r *http.Request) bool { return r.FormValue("mount") != "" }, 401),
		there: func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
			return r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/sha256:") && registrytest.Answer(registrytest.On("PUT manifests"), 500)(w, r, nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			before := name == there
			s := newSetup(t, registrytest.Options{}, push.Selection{})
			if fault != nil {
				s.registry.Inject(fault)
			}
			if before {
				s.dial(t, func(o *client.Options) { o.Retries = -1 })
				if _, err := s.push(t.Context()); err == nil {
					t.Fatal("the first push succeeded, want an error, because manifests were refused")
				}
				s.registry.Heal()
				s.dial(t)
			}
			c := &counter{}
			if _, err := push.Run(t.Context(), push.Options{Plan: s.plan, Client: s.client, State: s.state, Progress: c}); err != nil {
				t.Fatal(err)
			}
			if c.done != c.expected || c.expected == 0 || c.open != 0 {
				t.Errorf("Progress received %d bytes, want %d; %d transfers have no end, want 0", c.done, c.expected, c.open)
			}
		})
	}
}

// An untagged index may contain a tagged image. Registries accept the index only after this image.
func TestUntaggedIndexOfTaggedImages(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := layouttest.New(t, dir).Layout("app")
	image := l.Image(layouttest.Image{Name: "amd64"})
	l.Tag(image, "v1-amd64")
	l.Add(l.Index(layouttest.Index{Children: []ocispec.Descriptor{image}}))
	l.Tag(l.Image(layouttest.Image{Name: "new"}), "v1")
	l.Write()
	s := newSetup(t, registrytest.Options{}, push.Selection{}, dir)
	s.mustPush(t)
	s.compare(t)
}
