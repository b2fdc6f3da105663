package pull_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/importer/pull"
	"github.com/layoutproxy/layoutproxy/importer/pull/pulltest"
	"github.com/layoutproxy/layoutproxy/registry/client"
	"github.com/layoutproxy/layoutproxy/registry/registrytest"
)

// endless is a registry with one image and an endless number of referrers. The image has width
// referrers, and each referrer has a referrer itself.
type endless struct {
	width int
	count atomic.Int64
}

func (e *endless) manifest(n int64) []byte {
	const empty = `{"mediaType":"application/vnd.oci.empty.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2}`
	return fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":%s,"layers":[],"annotations":{"n":"%d"}}`, specs.MediaTypeImageManifest, empty, n)
}

func (e *endless) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	kind, reference := "", ""
	if parts := strings.Split(r.URL.Path, "/"); len(parts) == 5 {
		kind, reference = parts[3], parts[4]
	}
	switch kind {
	case "tags":
		fmt.Fprint(w, `{"tags":["v1"]}`)
	case "referrers":
		w.Header().Set("Content-Type", specs.MediaTypeImageIndex)
		width := 1
		if e.count.Load() == 0 {
			width = e.width
		}
		var list []string
		for range width {
			body := e.manifest(e.count.Add(1))
			list = append(list, fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d}`, specs.MediaTypeImageManifest, digest.FromBytes(body), len(body)))
		}
		fmt.Fprintf(w, `{"schemaVersion":2,"manifests":[%s]}`, strings.Join(list, ","))
	case "manifests":
		for n := range e.count.Load() + 1 {
			if body := e.manifest(n); reference == "v1" || digest.FromBytes(body).String() == reference {
				w.Header().Set("Content-Type", specs.MediaTypeImageManifest)
				w.Header().Set("Docker-Content-Digest", digest.FromBytes(body).String())
				_, _ = w.Write(body)
				return
			}
		}
		http.NotFound(w, r)
	}
}

// A pull fails if the registry invents one more referrer for every manifest.
func TestReferrersWithoutEnd(t *testing.T) {
	for name, test := range map[string]struct {
		width int
		want  string
	}{
		"a chain": {1, "app: sha256:"},
		"a crowd": {60_000, "app: more than 50000 manifests refer to its images: have the registry cleaned up"},
	} {
		t.Run(name, func(t *testing.T) {
			r := registrytest.New(t, registrytest.Options{Handler: &endless{width: test.width}})
			o := pulltest.Options(t, r, "")
			o.Planner = pull.Repositories{Paths: []string{"app"}}
			_, err := pull.Dry(t.Context(), o, nil)
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "--tag") {
				t.Errorf("got error %v, want one that contains %q and --tag", err, test.want)
			}
		})
	}
}

func TestTagsWithoutEnd(t *testing.T) {
	r := registrytest.New(t, registrytest.Options{Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if !strings.HasSuffix(q.URL.Path, "/tags/list") {
			return
		}
		w.Header().Set("Link", `</v2/app/tags/list?n=1000&last=t>; rel="next"`) // the next page has the same URL
		fmt.Fprint(w, `{"tags":["t"]}`)
	})})
	o := pulltest.Options(t, r, "")
	o.Planner = pull.Repositories{Paths: []string{"app"}}
	if _, err := pull.Run(t.Context(), o, nil); err == nil || !strings.Contains(err.Error(), client.ErrTooMany.Error()) {
		t.Errorf("pull from a list of tags without an end: got error %v, want ErrTooMany", err)
	}
	pulltest.NothingPublished(t, o.Dir)
}

// A manifest can state any size. A pull fails before it lists the chunks of an archive, if readers would refuse
// that many chunks.
func TestTooManyChunks(t *testing.T) {
	for name, test := range map[string]struct {
		sizes []int64
		want  string
	}{
		"more chunks than readers accept": {[]int64{1_001_000_000}, "more than 1000000 chunks of 1000 bytes"},
		"an overflow":                     {[]int64{1 << 62, 1 << 62}, "more than 9223372036854775807 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			var layers []string
			for i, size := range test.sizes {
				layers = append(layers, fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d}`, specs.MediaTypeImageLayer, digest.FromString(fmt.Sprint(i)), size))
			}
			const config = `{"mediaType":"application/vnd.oci.empty.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2}`
			manifest := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":%s,"layers":[%s]}`, specs.MediaTypeImageManifest, config, strings.Join(layers, ","))
			r := registrytest.New(t, registrytest.Options{Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
				switch {
				case strings.HasSuffix(q.URL.Path, "/tags/list"):
					fmt.Fprint(w, `{"tags":["v1"]}`)
				case strings.HasSuffix(q.URL.Path, "/manifests/v1"):
					w.Header().Set("Content-Type", specs.MediaTypeImageManifest)
					fmt.Fprint(w, manifest)
				case q.URL.Path != "/v2/":
					http.NotFound(w, q)
				}
			})})
			o := pulltest.Options(t, r, "")
			o.Planner, o.ChunkSize = pull.Repositories{Paths: []string{"app"}}, 1000
			if _, err := pull.Dry(t.Context(), o, nil); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("dry run: got error %v, want one that contains %q", err, test.want)
			}
			if _, err := pull.Run(t.Context(), o, nil); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got error %v, want one that contains %q", err, test.want)
			}
			pulltest.NothingPublished(t, o.Dir)
		})
	}
}
