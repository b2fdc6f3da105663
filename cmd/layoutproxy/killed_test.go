package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/registry/registrytest"
)

// killPoints returns the numbers of the requests at which the test kills the program, each below
// total: one odd and one even number. With LAYOUTPROXY_TEST_ALL=1, it returns 100 numbers.
func killPoints(t *testing.T, total int) (points []int) {
	t.Helper()
	const n = 100
	if total <= n {
		t.Fatalf("a complete run sends %d requests, want more than 100", total)
	}
	if os.Getenv("LAYOUTPROXY_TEST_ALL") == "" {
		return []int{total/3 | 1, total * 2 / 3 &^ 1}
	}
	for i := range n {
		points = append(points, 1+i*(total-2)/(n-1))
	}
	return points
}

// killAt runs the program, and kills it during the request with the number at, counted from 1. If the number
// is even, the registry processes the request before the kill, and only the response is lost. A run may send
// slightly fewer requests than total. So the program may end unkilled if at is in the last 2 % of total.
func killAt(t *testing.T, r *registrytest.Registry, at, total int, args []string) {
	t.Helper()
	var reached atomic.Bool
	running := make(chan *os.Process, 1)
	nth := registrytest.Nth(at, at, func(*http.Request) bool { return true })
	r.Inject(func(_ http.ResponseWriter, req *http.Request, next http.Handler) bool {
		if !nth(req) {
			return false
		}
		reached.Store(true)
		if at%2 == 0 {
			next.ServeHTTP(httptest.NewRecorder(), req)
		}
		_ = (<-running).Kill() // Wait below checks that the process was killed.
		panic(http.ErrAbortHandler)
	})
	cmd := program(t, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	layouttest.Try(t, cmd.Start())
	running <- cmd.Process
	err := cmd.Wait()
	early := err == nil && !reached.Load() && at > total-total/50
	if !early && (err == nil || cmd.ProcessState.Exited()) {
		t.Errorf("request %d of %d: the program ended with %v, want it killed:\n%s", at, total, err, out.String())
	}
	r.Settle()
	r.Heal()
	r.Forget()
}

// mustRun runs the program, fails the test if the program fails, and returns its standard output.
func mustRun(t *testing.T, args ...string) string {
	t.Helper()
	cmd := program(t, args...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("layoutproxy %q ended with %v, want exit status 0\n%s%s", args, err, out, errs.String())
	}
	return string(out)
}

// replaced lists tags in d8's bundle for which the registry has older images before the push.
var replaced = []string{"deckhouse/ee/release-channel:alpha", "deckhouse/ee/release-channel:stable", "deckhouse/ee/modules/console/release:stable"}

// When a push is killed at any request, the same command completes it. Until then, each tag points
// to the complete older or the complete newer image. A blob that the registry already has is not
// sent again.
func TestPushKilledAtAnyRequestIsCompleted(t *testing.T) {
	t.Parallel()
	want := expected(t, "testdata/d8/expected.tsv")
	first := registrytest.New(t, registrytest.Options{})
	older := fillOlder(t, first)
	first.Forget()
	mustRun(t, "push", "--state-dir", t.TempDir(), "--cache-dir", "", "testdata/d8", first.Host+"/deckhouse/ee")
	arrived := 0
	total := len(first.Requests())
	for _, at := range killPoints(t, total) {
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			dir := t.TempDir()
			r := registrytest.New(t, registrytest.Options{Dir: dir})
			fillFrom(t, r, older)
			before := len(linked(t, dir))
			args := []string{"push", "--state-dir", t.TempDir(), "--cache-dir", "", "testdata/d8", r.Host + "/deckhouse/ee"}
			killAt(t, r, at, total, args)
			for tag, digest := range pulled(t, r.Host, want) {
				if digest != want[tag] && digest != older[tag].digest {
					t.Errorf("tag %s points to %s, want the older image %s or the newer image %s", tag, digest, older[tag].digest, want[tag])
				}
				requireComplete(t, r.Host+"/"+tag)
			}
			there := linked(t, dir)
			arrived += len(there) - before
			r.Forget()
			mustRun(t, args...)
			for _, q := range r.Requests() {
				_, hex, _ := strings.Cut(q.Query, "digest=sha256%3A")
				if hex, _, _ = strings.Cut(hex, "&"); q.Kind() == "PUT uploads" && there[hex] {
					t.Errorf("blob %s was sent again, by the request for %s, want it sent once", hex, q.Path)
				}
			}
			if diff := cmp.Diff(want, pulled(t, r.Host, want)); diff != "" {
				t.Error(diff)
			}
			mustRun(t, "verify", "testdata/d8", "--against", r.Host+"/deckhouse/ee")
		})
	}
	if arrived == 0 {
		t.Error("the killed pushes sent no blobs, want at least one")
	}
}

// fillOlder pushes an older image for each tag in replaced, and returns the images by tag.
func fillOlder(t *testing.T, r *registrytest.Registry) map[string]older {
	t.Helper()
	all := map[string]older{}
	for _, tag := range replaced {
		image, err := random.Image(100, 1)
		layouttest.Try(t, err)
		digest, err := image.Digest()
		layouttest.Try(t, err)
		all[tag] = older{image, digest.String()}
	}
	fillFrom(t, r, all)
	return all
}

// older is the image that a tag points to before a push.
type older struct {
	image  v1.Image
	digest string
}

func fillFrom(t *testing.T, r *registrytest.Registry, all map[string]older) {
	t.Helper()
	for tag, o := range all {
		ref, err := name.ParseReference(r.Host+"/"+tag, name.Insecure)
		layouttest.Try(t, err)
		layouttest.Try(t, remote.Write(ref, o.image))
	}
}

func requireComplete(t *testing.T, reference string) {
	t.Helper()
	ref, err := name.ParseReference(reference, name.Insecure)
	layouttest.Try(t, err)
	d, err := remote.Get(ref)
	layouttest.Try(t, err)
	var m struct {
		Config            *v1.Descriptor
		Layers, Manifests []v1.Descriptor
	}
	layouttest.Try(t, json.Unmarshal(d.Manifest, &m))
	if m.Config != nil {
		m.Layers = append(m.Layers, *m.Config)
	}
	for _, layer := range m.Layers {
		resp, err := http.Head("http://" + ref.Context().RegistryStr() + "/v2/" + ref.Context().RepositoryStr() + "/blobs/" + layer.Digest.String())
		layouttest.Try(t, err)
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("HEAD of blob %s of %s: got %s, want 200", layer.Digest, reference, resp.Status)
		}
	}
	for _, child := range m.Manifests {
		requireComplete(t, ref.Context().Digest(child.Digest.String()).String())
	}
}

var sha256Name = regexp.MustCompile(`^(?:sha256-)?([0-9a-f]{64})$`)

func linked(t *testing.T, dir string) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	layouttest.Try(t, filepath.WalkDir(dir, func(file string, e fs.DirEntry, err error) error {
		if digest := filepath.Dir(file); filepath.Base(file) == "link" && strings.Contains(digest, "/_layers/") {
			all[filepath.Base(digest)] = true
		}
		return err
	}))
	return all
}

// When a pull is killed at any request, the same command completes it. Until then, readers of the
// directory see only the older bundle, or nothing if there was none. Blobs that the killed pull has
// kept are not fetched again.
func TestPullKilledAtAnyRequestIsCompleted(t *testing.T) {
	t.Parallel()
	r := registrytest.New(t, registrytest.Options{})
	mustRun(t, "push", "--state-dir", t.TempDir(), "--cache-dir", "", "testdata/d8", r.Host+"/deckhouse/ee")
	pull := func(dir string) []string { return []string{"pull", r.Host + "/deckhouse/ee", dir} }
	dir := t.TempDir()
	r.Forget()
	mustRun(t, pull(dir)...)
	total := len(r.Requests())
	points := killPoints(t, total)
	want, newer := hashes(t, dir), read(t, dir)
	all := 0
	for i, at := range points {
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			dir := t.TempDir()
			if i%2 == 0 {
				olderBundle(t, dir)
			}
			before := read(t, dir)
			killAt(t, r, at, total, pull(dir))
			if got := read(t, dir); got != before && got != newer {
				t.Errorf("a reader sees a third state, want the older bundle or the newer one (-older +got):\n%s", cmp.Diff(before, got))
			}
			kept := keptBlobs(t, dir)
			all += len(kept)
			mustRun(t, pull(dir)...)
			for _, q := range r.Requests() {
				if hex := q.Path[strings.LastIndex(q.Path, ":")+1:]; q.Kind() == "GET blobs" && kept[hex] {
					t.Errorf("blob %s was fetched again, want none that the killed pull had kept", hex)
				}
			}
			if diff := cmp.Diff(want, hashes(t, dir)); diff != "" {
				t.Error(diff)
			}
			mustRun(t, "verify", dir)
		})
	}
	if all == 0 {
		t.Error("the killed pulls kept no blobs, want at least one")
	}
}

// olderBundle writes a bundle whose archive the pull replaces.
func olderBundle(t *testing.T, dir string) {
	t.Helper()
	tree := layouttest.New(t, t.TempDir())
	l := tree.Layout(".")
	l.Tag(l.Image(layouttest.Image{Name: "older", LayerSizes: []int64{1000}}), "older")
	l.Write()
	tree.Archive(filepath.Join(dir, "platform.tar"), layouttest.Archive{})
}

func read(t *testing.T, dir string) string {
	t.Helper()
	out, err := program(t, "list", dir, "--root-repository", "deckhouse/ee").Output()
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		t.Fatal(err)
	}
	return fmt.Sprintf("%s%v", out, err)
}

func keptBlobs(t *testing.T, dir string) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	layouttest.Try(t, filepath.WalkDir(filepath.Join(dir, ".tmp"), func(file string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		parent := filepath.Base(filepath.Dir(file))
		if m := sha256Name.FindStringSubmatch(filepath.Base(file)); m != nil && (parent == "blobs" || parent == "sha256") {
			all[m[1]] = true
		}
		return err
	}))
	return all
}

func hashes(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	layouttest.Try(t, filepath.WalkDir(dir, func(file string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := os.ReadFile(file)
		all[strings.TrimPrefix(file, dir)] = fmt.Sprintf("%x", sha256.Sum256(data))
		return err
	}))
	return all
}
