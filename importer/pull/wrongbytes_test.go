package pull_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/layoutproxy/layoutproxy/importer/pull"
	"github.com/layoutproxy/layoutproxy/importer/pull/pulltest"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/registry/client"
	"github.com/layoutproxy/layoutproxy/registry/registrytest"
)

// If the registry keeps sending wrong content, a pull requests the content three times. Then it
// fails, and the error names the digest, the registry and the received content.
func TestRepeatedWrongContent(t *testing.T) {
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
		"a flipped bit in a blob":     {blob, registrytest.FlipBit, []string{large, "checksum mismatch", "received 70000 bytes with the digest sha256:", "(asked 3 times)"}},
		"a short blob":                {blob, registrytest.CutHalf, []string{large, "the answer has 35000 bytes, expected 70000", "(asked 3 times)"}},
		"a flipped bit in a manifest": {registrytest.On("GET manifests"), registrytest.FlipBit, []string{"checksum mismatch", ", not sha256:"}},
		"a truncated list":            {registrytest.On("GET tags"), registrytest.CutHalf, []string{"list tags shop/app", "malformed list", "(asked 3 times)"}},
	} {
		t.Run(name, func(t *testing.T) {
			r, _ := pulltest.Serve(t, tree.Dir())
			o := pulltest.Options(t, r, "shop")
			o.Planner = pull.Repositories{Paths: []string{"app"}}
			r.Inject(registrytest.Spoil(test.match, test.spoil))
			_, err := pull.Run(t.Context(), o, nil)
			if err == nil {
				t.Fatal("the pull returned no error, want one because all content is wrong")
			}
			for _, words := range append(test.says, r.Host, "shop/app") {
				if !strings.Contains(err.Error(), words) {
					t.Errorf("got error %v, want one that contains %q", err, words)
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
				t.Errorf("the pull sent up to %d requests for the same content, want 3", most)
			}
			pulltest.NothingPublished(t, o.Dir)
		})
	}
}

// Two repositories have the same image. If its content is wrong in one of them, a pull fetches it from the other
// one.
func TestWrongContentInOneRepository(t *testing.T) {
	tree := layouttest.New(t, t.TempDir())
	for _, at := range []string{"shop/app", "shop/other"} {
		l := tree.Layout(at)
		l.Tag(l.Image(layouttest.Image{Name: "same", LayerSizes: []int64{3000}}), "v1")
		l.Write()
	}
	for name, spoil := range map[string]func([]byte) []byte{"a flipped bit": registrytest.FlipBit, "short blobs": registrytest.CutHalf} {
		t.Run(name, func(t *testing.T) {
			r, _ := pulltest.Serve(t, tree.Dir())
			r.Inject(registrytest.Spoil(pulltest.At("shop/app/blobs/"), spoil))
			o := pulltest.Options(t, r, "shop")
			o.Planner = pull.Repositories{Paths: []string{"app", "other"}}
			pulltest.Run(t, o)
			got := pulltest.OpenAt(t, "shop", o.Dir)
			if tags := pulltest.Listed(t, got); len(tags) != 2 {
				t.Errorf("the bundle has the tags %v, want one of each repository", tags)
			}
			pulltest.ProveAll(t, got)
		})
	}
}

// A part of a blob is left from an earlier pull. The next pull requests the rest of the blob and
// gets wrong bytes. It then requests the complete blob.
func TestWrongPartsOfBlobs(t *testing.T) {
	tree := varied(t)
	large := finishedLayers(t, tree, 70_000)[0]
	blob := func(r *http.Request) bool {
		return registrytest.On("GET blobs")(r) && strings.HasSuffix(r.URL.Path, large)
	}
	r, _ := pulltest.Serve(t, tree.Dir())
	o := pulltest.Options(t, r, "shop")
	o.Planner = pull.Repositories{Paths: []string{"app"}}
	c, err := client.New(client.Options{Registry: r.Host, PlainHTTP: true, Retries: -1})
	layouttest.Try(t, err)
	defer c.Close()
	o.Registry = c
	r.Inject(registrytest.Spoil(func(q *http.Request) bool { return blob(q) && q.Header.Get("Range") != "" }, registrytest.FlipBit))
	r.Inject(registrytest.Truncate(registrytest.First(1, blob), 20_000))
	if _, err := pull.Run(t.Context(), o, nil); err == nil {
		t.Fatal("the pull returned no error, want one because a download was cut off")
	}
	r.Forget()
	pulltest.Run(t, o)
	sameTree(t, tree.Dir(), o.Dir)
	var answers []int
	for _, q := range r.Requests() {
		if strings.HasSuffix(q.Path, large) {
			answers = append(answers, q.Status)
		}
	}
	if !slices.Equal(answers, []int{http.StatusPartialContent, http.StatusOK}) {
		t.Errorf("statuses of the responses = %d, want 206 for the rest, then 200 for the complete blob", answers)
	}
}
