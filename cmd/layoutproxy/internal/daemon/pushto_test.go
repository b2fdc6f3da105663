package daemon

import (
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"testing"

	"github.com/layoutproxy/layoutproxy/importer"
	"github.com/layoutproxy/layoutproxy/layoutstore/bucket/buckettest"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/registry/registrytest"
)

// With --push-to, a server pushes each generation of its store once, also if another process has
// published it. This is the same for a store in a bucket, which the server itself never changes.
func TestEachGenerationIsPushedOnce(t *testing.T) {
	for _, kind := range []string{"directory", "bucket"} {
		t.Run(kind, func(t *testing.T) {
			options := importer.Options{Store: filepath.Join(t.TempDir(), "store")}
			var flags []string
			if kind == "bucket" {
				s3 := buckettest.Start(t)
				options = importer.Options{Store: "s3://" + buckettest.Bucket + "/store", Buckets: s3.Buckets(t)}
				flags = []string{"--s3-endpoint", s3.URL, "--s3-path-style"}
				t.Setenv("AWS_ACCESS_KEY_ID", buckettest.AccessKey)
				t.Setenv("AWS_SECRET_ACCESS_KEY", buckettest.SecretKey)
			}
			t.Setenv("XDG_STATE_HOME", t.TempDir())
			i, err := importer.New(options)
			layouttest.Try(t, err)
			imports := func(tag string) {
				t.Helper()
				tree := layouttest.New(t, t.TempDir())
				layouttest.Publish(t, tree.Dir(), "app", tag)
				_, err := i.Import(t.Context(), tree.Dir())
				layouttest.Try(t, err)
			}
			imports("v1")

			to := registrytest.New(t, registrytest.Options{})
			other := layouttest.New(t, t.TempDir())
			flags = append(flags, "--rescan", "1h", "--store", options.Store, "--push-to", to.Host+"/mirror", other.Dir())
			registry, admin := inProcess(t, flags...)
			client := &http.Client{}
			arrives := func(base, tag string) {
				t.Helper()
				layouttest.Eventually(t, tag+" at "+base, func() bool {
					_, _, err := fetch(client, base+"/manifests/"+tag)
					return err == nil
				})
			}
			rescan := func() {
				t.Helper()
				resp, err := http.Post("http://"+admin+"/rescan", "", nil)
				layouttest.Try(t, err)
				resp.Body.Close()
			}
			pushed := func(n int) {
				t.Helper()
				arrives("http://"+to.Host+"/v2/mirror/app", fmt.Sprintf("v%d", n))
			}
			pushed(1)
			imports("v2")
			rescan()
			pushed(2)

			// A change of another source starts no push.
			to.Forget()
			layouttest.Publish(t, other.Dir(), "other", "latest")
			rescan()
			arrives("http://"+registry+"/v2/other", "latest")
			imports("v3")
			rescan()
			pushed(3)
			var heads []string
			for _, r := range to.Requests() {
				if r.Method == http.MethodHead && r.Path == "/v2/mirror/app/manifests/v1" {
					heads = append(heads, r.Path)
				}
			}
			if want := []string{"/v2/mirror/app/manifests/v1"}; !slices.Equal(heads, want) {
				t.Errorf("after a change of another source and one import, got the requests HEAD %q, want %q, from one push", heads, want)
			}
		})
	}
}
