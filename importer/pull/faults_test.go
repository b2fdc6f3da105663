package pull_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	versioned "github.com/opencontainers/image-spec/specs-go"
	specs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/importer/pull"
	"github.com/layoutproxy/layoutproxy/importer/pull/pulltest"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/registry/client"
	"github.com/layoutproxy/layoutproxy/registry/registrytest"
)

// A pull retries requests that fail temporarily, and resumes downloads that were cut.
func TestTemporaryFaults(t *testing.T) {
	tree := crashTree(t)
	const get = "GET blobs"
	for name, fault := range map[string]registrytest.Fault{
		"cuts":                       registrytest.Truncate(registrytest.First(3, registrytest.On(get)), 15_000),
		"429 for blobs":              registrytest.Answer(registrytest.First(2, registrytest.On(get)), http.StatusTooManyRequests, "Retry-After: 0"),
		"429 for manifests":          registrytest.Answer(registrytest.First(2, registrytest.On("GET manifests")), http.StatusTooManyRequests, "Retry-After: 0"),
		"a failing server":           registrytest.Answer(registrytest.First(2, registrytest.On("GET tags")), http.StatusBadGateway),
		"a failing referrers server": registrytest.Answer(registrytest.First(1, registrytest.On("GET referrers")), http.StatusServiceUnavailable),
		"connections that are reset": registrytest.Lose(registrytest.First(2, registrytest.On("GET manifests"))),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, _ := pulltest.Serve(t, tree.Dir())
			r.Inject(fault)
			o := pulltest.Options(t, r, "shop")
			o.Planner = pull.Repositories{Paths: []string{"app", "."}}
			pulltest.Run(t, o)
			sameTree(t, tree.Dir(), o.Dir)
		})
	}
}

func TestExpiredToken(t *testing.T) {
	tree := varied(t)
	dir := t.TempDir()
	pulltest.Push(t, registrytest.New(t, registrytest.Options{Dir: dir}), pulltest.OpenBare(t, tree.Dir()))
	r := registrytest.New(t, registrytest.Options{Dir: dir, Token: true})
	challenge := fmt.Sprintf(`Www-Authenticate: Bearer realm="%s/token",service="registry",scope="repository:shop/app:pull"`, r.Tokens.URL)
	third := registrytest.Nth(3, 3, registrytest.On("GET blobs"))
	var expired atomic.Value // any request with this token is refused
	expired.Store("")
	r.Inject(registrytest.Answer(func(q *http.Request) bool {
		authorization := q.Header.Get("Authorization")
		if third(q) {
			expired.Store(authorization)
		}
		return authorization != "" && authorization == expired.Load()
	}, http.StatusUnauthorized, challenge))
	o := pulltest.Options(t, r, "shop")
	c, err := client.New(client.Options{Registry: r.Host, PlainHTTP: true, AllowPrivateRedirects: true,
		Credential: client.Credential{Username: registrytest.Username, Password: registrytest.Password}})
	layouttest.Try(t, err)
	defer c.Close()
	o.Registry, o.Planner = c, pull.Repositories{Paths: []string{"app"}}
	pulltest.Run(t, o)
	sameTree(t, tree.Dir(), o.Dir)
	if asked := r.Tokens.Asked(); expired.Load() == "" || len(asked) < 2 {
		t.Errorf("got the token requests %q, want at least 2 of them", asked)
	}
}

// If a registry refuses to list referrers, a pull succeeds. It pulls the referrers that have tags,
// and reports that others may be missing.
func TestRefusedReferrers(t *testing.T) {
	tree := varied(t)
	for _, status := range []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusInternalServerError, http.StatusServiceUnavailable} {
		r, _ := pulltest.Serve(t, tree.Dir())
		r.Inject(registrytest.Answer(registrytest.On("GET referrers"), status))
		var noticed []error
		o := pulltest.Options(t, r, "shop")
		c, err := client.New(client.Options{Registry: r.Host, PlainHTTP: true, Retries: -1, Noticed: func(err error) { noticed = append(noticed, err) }})
		layouttest.Try(t, err)
		o.Registry, o.Planner = c, pull.Repositories{Paths: []string{"app"}, Tag: "v2*"}
		pulltest.Run(t, o)
		c.Close()
		s := pulltest.OpenAt(t, "shop", o.Dir)
		pulltest.Intact(t, s)
		repo, err := s.Repository("shop/app")
		layouttest.Try(t, err)
		if tags, _ := repo.Tags("", -1); len(tags) != 2 {
			t.Errorf("status %d: the bundle has the tags %q, want those of the image and of its signature", status, tags)
		}
		if len(noticed) != 1 || !strings.Contains(noticed[0].Error(), fmt.Sprint(status)) {
			t.Errorf("status %d: got the notices %v, want one with this status", status, noticed)
		}
	}
}

// A pull reports all missing or damaged content, and publishes nothing.
func TestMissingContentIsListed(t *testing.T) {
	tree := crashTree(t)
	app := tree.Layout("shop/app")
	var lost []string
	for _, d := range finishedLayers(t, tree, 300_000)[:2] {
		layouttest.Try(t, os.Remove(filepath.Join(app.Dir(), "blobs/sha256", d)))
		lost = append(lost, d)
	}
	short := finishedLayers(t, tree, 70_000)[0]
	layouttest.Try(t, os.Truncate(filepath.Join(app.Dir(), "blobs/sha256", short), 69_999))
	wrong := finishedLayers(t, tree, 20_000)[0]
	data, err := os.ReadFile(filepath.Join(app.Dir(), "blobs/sha256", wrong))
	layouttest.Try(t, err)
	data[7] ^= 1
	layouttest.Try(t, os.WriteFile(filepath.Join(app.Dir(), "blobs/sha256", wrong), data, 0o644))
	r := registrytest.New(t, registrytest.Options{Handler: plainFiles(tree.Dir())})
	o := pulltest.Options(t, r, "shop")
	o.Planner = pull.Repositories{Paths: []string{"app", "."}}
	_, err = pull.Run(t.Context(), o, nil)
	var incomplete *pull.IncompleteError
	if !errors.As(err, &incomplete) {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, g := range incomplete.Problems {
		got[g.Digest.Encoded()] = g.Reason
	}
	if len(got) != 4 || got[lost[0]] != "missing" || got[lost[1]] != "missing" ||
		!strings.Contains(got[short], "69999 bytes") || !strings.Contains(got[wrong], "checksum mismatch: sha256:"+wrong) {
		t.Errorf("problems by digest = %v; want 2 missing blobs, one too short, and one with a checksum mismatch", got)
	}
	pulltest.NothingPublished(t, o.Dir)
}

// A pull fails if two manifests state different sizes of the same layer.
func TestContradictorySizes(t *testing.T) {
	tree := layouttest.New(t, t.TempDir())
	for i, name := range []string{"shop/app", "shop/other"} {
		l := tree.Layout(name)
		config, layer := l.Blob(specs.MediaTypeImageConfig, []byte("{}")), l.Blob(specs.MediaTypeImageLayer, []byte("layer"))
		layer.Size += int64(i)
		body, err := json.Marshal(specs.Manifest{Versioned: versioned.Versioned{SchemaVersion: 2}, MediaType: specs.MediaTypeImageManifest, Config: config, Layers: []specs.Descriptor{layer}})
		layouttest.Try(t, err)
		l.Tag(l.Blob(specs.MediaTypeImageManifest, body), "v1")
		l.Write()
	}
	r := registrytest.New(t, registrytest.Options{Handler: plainFiles(tree.Dir())})
	o := pulltest.Options(t, r, "shop")
	o.Planner = pull.Repositories{Paths: []string{"app", "other"}}
	var incomplete *pull.IncompleteError
	if _, err := pull.Run(t.Context(), o, nil); !errors.As(err, &incomplete) || !strings.Contains(err.Error(), "a manifest of this repository states a size of 6 bytes, and a manifest of another repository states 5 bytes") {
		t.Error(err)
	}
	pulltest.NothingPublished(t, o.Dir)
}

// finishedLayers returns the names of all blobs of shop/app with the given size in bytes.
func finishedLayers(t *testing.T, tree *layouttest.Tree, size int64) (found []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(tree.Layout("shop/app").Dir(), "blobs/sha256"))
	layouttest.Try(t, err)
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.Size() == size {
			found = append(found, e.Name())
		}
	}
	return found
}

// If a tag moves during a pull, the bundle has exactly one of its images. If a tag disappears, the
// pull reports it as missing.
func TestTagsThatMoveDuringAPull(t *testing.T) {
	tree := varied(t)
	want := pulltest.Listed(t, pulltest.OpenBare(t, tree.Dir()))
	r, refresh := pulltest.Serve(t, tree.Dir())
	app := tree.Layout("shop/app")
	var moved atomic.Bool
	r.Inject(func(w http.ResponseWriter, q *http.Request, next http.Handler) bool {
		if q.Method == http.MethodGet && strings.HasSuffix(q.URL.Path, "/manifests/v2.0") && moved.CompareAndSwap(false, true) {
			next.ServeHTTP(w, q)
			app.Tag(app.Image(layouttest.Image{Name: "another", LayerSizes: []int64{9}}), "v2.0")
			app.Write()
			refresh()
			return true
		}
		return false
	})
	o := pulltest.Options(t, r, "shop")
	o.Planner = pull.Repositories{Paths: []string{"app"}}
	pulltest.Run(t, o)
	if got := pulltest.Listed(t, pulltest.OpenAt(t, "shop", o.Dir)); got["shop/app:v2.0"] != want["shop/app:v2.0"] {
		t.Errorf("tag v2.0 has the digest %s, want the digest before the move, %s", got["shop/app:v2.0"], want["shop/app:v2.0"])
	}
	sameTree(t, o.Dir, o.Dir)

	r.Inject(registrytest.Answer(func(q *http.Request) bool { return strings.HasSuffix(q.URL.Path, "/manifests/v1.0") }, http.StatusNotFound))
	o.Dir = t.TempDir()
	_, err := pull.Run(t.Context(), o, nil)
	var incomplete *pull.IncompleteError
	if !errors.As(err, &incomplete) || !strings.Contains(err.Error(), "shop/app:v1.0: missing") {
		t.Errorf("got error %v, want an *IncompleteError about the missing tag v1.0", err)
	}
	pulltest.NothingPublished(t, o.Dir)
}

// An interrupted pull keeps the blobs that it has fetched, and the parts of other blobs. The next
// pull resumes from them.
func TestInterruptedPull(t *testing.T) {
	tree := varied(t)
	app := tree.Layout("shop/app")
	app.Tag(app.Image(layouttest.Image{Name: "large", LayerSizes: []int64{40 << 20}}), "large")
	app.Write()
	r, _ := pulltest.Serve(t, tree.Dir())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var sent atomic.Int64
	var dir atomic.Value // o.Dir
	large := finishedLayers(t, tree, 40<<20)[0]
	r.Inject(func(w http.ResponseWriter, q *http.Request, next http.Handler) bool {
		if !strings.HasSuffix(q.URL.Path, large) || q.Header.Get("Range") != "" {
			return false
		}
		next.ServeHTTP(&interrupting{ResponseWriter: w, sent: &sent, at: 5 << 20, do: func() {
			waitForState(q.Context(), dir.Load().(string), large)
			cancel()
		}}, q)
		return true
	})
	o := pulltest.Options(t, r, "shop")
	o.Planner = pull.Repositories{Paths: []string{"app"}}
	dir.Store(o.Dir)
	if _, err := pull.Run(ctx, o, nil); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	pulltest.NothingPublished(t, o.Dir)
	there := finished(t, o.Dir)
	if len(there) < 2 {
		t.Errorf("the interrupted pull kept %d complete blobs, want at least 2", len(there))
	}
	r.Forget()
	// Requests for the rest of the large blob are not interrupted, so this pull succeeds.
	pulltest.Run(t, o)
	ranges := 0
	for _, q := range r.Requests() {
		hex := q.Path[strings.LastIndex(q.Path, ":")+1:]
		if q.Kind() == "GET blobs" && there[hex] {
			t.Errorf("the next pull fetched the complete blob %s again, want no request for it", hex)
		}
		if hex == large && q.Status == http.StatusPartialContent {
			ranges++
		}
	}
	if ranges != 1 {
		t.Errorf("the next pull sent %d requests for the rest of the large blob, want 1", ranges)
	}
	sameTree(t, tree.Dir(), o.Dir)

	// With --no-pull-resume, a pull fetches everything again.
	o.Dir = t.TempDir()
	dir.Store(o.Dir)
	ctx, again := context.WithCancel(t.Context())
	defer again()
	cancel = again
	sent.Store(0)
	if _, err := pull.Run(ctx, o, nil); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	r.Heal()
	r.Forget()
	o.NoResume = true
	pulltest.Run(t, o)
	for _, q := range r.Requests() {
		if q.Status == http.StatusPartialContent {
			t.Errorf("with NoResume, the pull resumed %s, want a complete download", q.Path)
		}
	}
	sameTree(t, tree.Dir(), o.Dir)
}

// waitForState waits until a pull has two complete blobs and part of another blob on disk, or until
// ctx ends. So an interruption leaves content to resume from, even on a busy machine.
func waitForState(ctx context.Context, dir, blob string) {
	for work := filepath.Join(dir, ".tmp/layoutproxy"); ctx.Err() == nil; time.Sleep(time.Millisecond) {
		complete, _ := filepath.Glob(filepath.Join(work, "blobs/*"))
		part, err := os.Stat(filepath.Join(work, "parts/sha256-"+blob))
		if len(complete) >= 2 && err == nil && part.Size() > 0 {
			return
		}
	}
}

// interrupting is a response writer that calls its function do before each write that reaches or
// exceeds its field at, in bytes sent in total.
type interrupting struct {
	http.ResponseWriter
	sent *atomic.Int64
	at   int64
	do   func()
}

func (i *interrupting) Write(p []byte) (int, error) {
	if i.sent.Add(int64(len(p))) >= i.at {
		_ = http.NewResponseController(i.ResponseWriter).Flush()
		i.do()
	}
	return i.ResponseWriter.Write(p)
}

// plainFiles serves the files of a tree without any checks.
func plainFiles(dir string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		path := strings.TrimPrefix(q.URL.Path, "/v2/")
		for _, kind := range []string{"/tags/list", "/manifests/", "/blobs/"} {
			name, reference, ok := strings.Cut(path, kind)
			if !ok {
				continue
			}
			layout := filepath.Join(dir, filepath.FromSlash(name))
			index, err := os.ReadFile(filepath.Join(layout, "index.json"))
			if err != nil {
				break
			}
			var doc specs.Index
			_ = json.Unmarshal(index, &doc)
			tags := []string{}
			for _, d := range doc.Manifests {
				tag := d.Annotations[layouttest.AnnotationShortTag]
				if tag == "" {
					continue
				}
				tags = append(tags, tag)
				if tag == reference {
					reference = d.Digest.String()
				}
			}
			if kind == "/tags/list" {
				_ = json.NewEncoder(w).Encode(map[string]any{"name": name, "tags": tags})
				return
			}
			if hex, ok := strings.CutPrefix(reference, "sha256:"); ok {
				http.ServeFile(w, q, filepath.Join(layout, "blobs/sha256", hex))
				return
			}
		}
		if q.URL.Path != "/v2/" {
			http.NotFound(w, q)
		}
	})
}
