package pull_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/layoutproxy/layoutproxy/importer/pull"
	"github.com/layoutproxy/layoutproxy/registry/client"
	"github.com/layoutproxy/layoutproxy/registry/registrytest"
)

// noPauses is a clock on which no pause takes time; it counts them.
type noPauses struct {
	mu     sync.Mutex
	pauses int
}

func (*noPauses) Now() time.Time { return time.Now() }

func (c *noPauses) Sleep(ctx context.Context, _ time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pauses++
	return ctx.Err()
}

// each matches the first n requests to each path that m matches.
func each(n int, m registrytest.Match) registrytest.Match {
	var mu sync.Mutex
	asked := map[string]int{}
	return func(r *http.Request) bool {
		if !m(r) {
			return false
		}
		mu.Lock()
		defer mu.Unlock()
		asked[r.URL.Path]++
		return asked[r.URL.Path] <= n
	}
}

func anything(r *http.Request) bool { return r.Method == http.MethodGet && r.URL.Path != "/v2/" }

// Whatever comes wrong twice, from anywhere, is pulled right: the first two answers to each
// request are spoiled. The files that are read out of layers count too, when planning and
// when pulling.
func TestWrongAnswersOfASource(t *testing.T) {
	s := platformOnly(t)
	s.member("modules", "release", "console", "v1.0.0", map[string]any{"scanner": 3})
	s.channel(edition+"/modules/console/release", "stable", "v1.0.0", false)
	s.image(edition+"/modules/console/extra/scanner", "3", nil)
	s.image(edition+"/modules", "console", nil)
	s.writeAll()
	selection := only(func(s *pull.Selection) { s.NoPlatform, s.NoModules, s.IgnoreSuspend = false, false, true })
	good, _ := serveTree(t, s.tree.Dir())
	o := options(t, good, edition)
	o.Selection = selection
	run(t, o)
	want := listed(t, openAt(t, edition, o.Dir))
	for name, spoil := range map[string]func([]byte) []byte{"a bit": registrytest.FlipBit, "half of it": registrytest.CutHalf} {
		t.Run(name, func(t *testing.T) {
			wrong := func(r *http.Request) bool {
				// No checksum tells of another name in a list.
				return anything(r) && !(name == "a bit" && registrytest.On("GET tags")(r))
			}
			clock := &noPauses{}
			source := func() pull.Options {
				r, _ := serveTree(t, s.tree.Dir())
				r.Inject(registrytest.Spoil(each(2, wrong), spoil))
				o := options(t, r, edition)
				c, err := client.New(client.Options{Registry: r.Host, PlainHTTP: true, Retries: -1, Clock: clock})
				try(t, err)
				t.Cleanup(c.Close)
				o.Registry, o.Selection = c, selection
				return o
			}
			plan, err := pull.Dry(t.Context(), source(), nil)
			try(t, err)
			if n := plan.Images(); n != len(want) {
				t.Errorf("%d images are planned, want %d", n, len(want))
			}
			o := source()
			run(t, o)
			got := openAt(t, edition, o.Dir)
			if diff := cmp.Diff(want, listed(t, got)); diff != "" {
				t.Error(diff)
			}
			proveAll(t, got)
			if clock.pauses == 0 {
				t.Error("nothing was waited for")
			}
		})
	}
}

// What stays wrong ends a pull with an error that names digest, registry and what came, and
// only after it was asked for three times, whole or from where an earlier pull was cut.
func TestAnswersThatStayWrong(t *testing.T) {
	tree := varied(t)
	large := finishedLayers(t, tree, 70_000)[0]
	blob := func(r *http.Request) bool {
		return registrytest.On("GET blobs")(r) && strings.HasSuffix(r.URL.Path, large)
	}
	for name, test := range map[string]struct {
		match registrytest.Match
		spoil func([]byte) []byte
		says  []string
	}{
		"a bit of a blob":     {blob, registrytest.FlipBit, []string{large, "checksum mismatch", "70000 bytes came, and their digest is sha256:", "(asked 3 times)"}},
		"a short blob":        {blob, registrytest.CutHalf, []string{large, "it has 35000 bytes, 70000 are expected", "(asked 3 times)"}},
		"a bit of a manifest": {registrytest.On("GET manifests"), registrytest.FlipBit, []string{"checksum mismatch", "are those of sha256:"}},
		"half a list":         {registrytest.On("GET tags"), registrytest.CutHalf, []string{"list tags shop/app", "no JSON of one", "(asked 3 times)"}},
	} {
		t.Run(name, func(t *testing.T) {
			r, _ := serveTree(t, tree.Dir())
			o := options(t, r, "shop")
			o.Repositories = []string{"app"}
			r.Inject(registrytest.Spoil(test.match, test.spoil))
			_, err := pull.Run(t.Context(), o, nil)
			if err == nil {
				t.Fatal("it was pulled")
			}
			for _, words := range append(test.says, r.Host, "shop/app") {
				if !strings.Contains(err.Error(), words) {
					t.Errorf("%v: does not say %q", err, words)
				}
			}
			asked := map[string]int{}
			for _, q := range r.Requests() {
				if q.Method == http.MethodGet {
					asked[q.Path]++
				}
			}
			most := 0
			for path, n := range asked {
				if path != "/v2/" {
					most = max(most, n)
				}
			}
			if most != 3 {
				t.Errorf("asked %d times, want 3", most)
			}
			nothingPublished(t, o.Dir)
		})
	}
}

// A part with a wrong bit that an earlier pull has left costs one more request, and what is
// wrong behind it as many as a whole blob.
func TestWrongRestOfABlob(t *testing.T) {
	tree := varied(t)
	large := finishedLayers(t, tree, 70_000)[0]
	blob := func(r *http.Request) bool {
		return registrytest.On("GET blobs")(r) && strings.HasSuffix(r.URL.Path, large)
	}
	r, _ := serveTree(t, tree.Dir())
	o := options(t, r, "shop")
	o.Repositories = []string{"app"}
	c, err := client.New(client.Options{Registry: r.Host, PlainHTTP: true, Retries: -1})
	try(t, err)
	defer c.Close()
	o.Registry = c
	r.Inject(registrytest.Spoil(func(q *http.Request) bool { return blob(q) && q.Header.Get("Range") != "" }, registrytest.FlipBit))
	r.Inject(registrytest.Truncate(registrytest.First(1, blob), 20_000))
	if _, err := pull.Run(t.Context(), o, nil); err == nil {
		t.Fatal("a cut was taken for the end")
	}
	r.Forget()
	run(t, o)
	sameTree(t, tree.Dir(), o.Dir)
	var answers []int
	for _, q := range r.Requests() {
		if strings.HasSuffix(q.Path, large) {
			answers = append(answers, q.Status)
		}
	}
	if !slices.Equal(answers, []int{http.StatusPartialContent, http.StatusOK}) {
		t.Errorf("the rest was answered with %d", answers)
	}
}
