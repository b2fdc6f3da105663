package push_test

import (
	"errors"
	"io"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/importer/push"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/registry/client"
	"github.com/layoutproxy/layoutproxy/registry/registrytest"
)

func quiet() *log.Logger { return log.New(io.Discard, "", 0) }

// A push succeeds despite each of these faults of a registry.
func TestPushDespiteFaults(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	buildTree(t, dir)
	on, first := registrytest.On, registrytest.First
	mounts := func(r *http.Request) bool { return r.FormValue("mount") != "" }
	for name, fault := range map[string]registrytest.Fault{
		"429 with Retry-After":         registrytest.Answer(first(3, on("PUT manifests")), 429, "Retry-After: 0"),
		"500":                          registrytest.Answer(first(2, on("POST uploads")), 500),
		"502 for the first 5 requests": registrytest.Answer(first(5, func(*http.Request) bool { return true }), 502),
		"reset during a PATCH":         registrytest.Reset(registrytest.Nth(2, 3, on("PATCH uploads")), streamFrom/3),
		"session forgotten":            registrytest.AnswerCode(registrytest.Nth(2, 2, on("PATCH uploads")), 404, "BLOB_UPLOAD_UNKNOWN"),
		"mounts refused with 401":      registrytest.Answer(mounts, 401),
		"mounts answered with 202": func(_ http.ResponseWriter, r *http.Request, _ http.Handler) bool {
			if mounts(r) {
				r.URL.RawQuery, r.Form = "", nil
			}
			return false
		},
		"no PATCH":                         registrytest.Answer(on("PATCH uploads"), 405),
		"403 for tag lists":                registrytest.Answer(on("GET tags"), 403),
		"lost responses":                   registrytest.Lose(first(4, on("PUT manifests"))),
		"lost commit":                      registrytest.Lose(first(4, on("PUT uploads"))),
		"referrers 404":                    registrytest.Answer(on("GET referrers"), 404),
		"413 for the large blob":           registrytest.Answer(func(r *http.Request) bool { return r.ContentLength > streamFrom }, 413),
		"truncated list":                   registrytest.Truncate(first(2, on("GET tags")), 3),
		"a web page instead of a tag list": page(on("GET tags")),
		"500 for a tag list":               registrytest.Answer(on("GET tags"), 500),
		"401 for a tag list":               registrytest.Answer(on("GET tags"), 401),
		"referrers 401":                    registrytest.Answer(on("GET referrers"), 401),
		"referrers 403":                    registrytest.Answer(on("GET referrers"), 403),
		"referrers 503":                    registrytest.Answer(on("GET referrers"), 503),
		"blobs without a size":             unsized,
		"manifests appear late":            registrytest.Answer(registrytest.Nth(tagsOfTree+discoveryOfTree+3, tagsOfTree+discoveryOfTree+4, on("HEAD manifests")), 404),
		"blobs appear late":                registrytest.AnswerCode(first(2, on("PUT manifests")), 404, "MANIFEST_BLOB_UNKNOWN"),
		"mounts fail":                      registrytest.Answer(mounts, 503),
		"HEAD is refused":                  registrytest.Answer(on("HEAD manifests"), 405),
		"417":                              registrytest.Answer(func(r *http.Request) bool { return r.Header.Get("Expect") != "" }, 417),
		"no digest in the response":        registrytest.Edit(on("HEAD manifests"), func(h http.Header) { h.Del("Docker-Content-Digest") }),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSetup(t, registrytest.Options{}, push.Selection{}, dir)
			s.registry.Inject(fault)
			if _, err := s.push(t.Context()); err != nil {
				t.Fatal(err)
			}
			s.registry.Heal()
			s.compare(t)
		})
	}
}

// page answers requests with status 200 and HTML, as a login page or a proxy does.
func page(m registrytest.Match) registrytest.Fault {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		if !m(r) {
			return false
		}
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<html><body>Log in</body></html>")
		return true
	}
}

// unsized answers HEAD requests for blobs without a length, as a compressing proxy does.
func unsized(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
	if !registrytest.On("HEAD blobs")(r) {
		return false
	}
	next.ServeHTTP(chunked{w}, r)
	return true
}

type chunked struct{ http.ResponseWriter }

func (c chunked) WriteHeader(status int) {
	c.Header().Del("Content-Length")
	c.Header().Set("Transfer-Encoding", "chunked")
	c.ResponseWriter.WriteHeader(status)
}

// If a registry does not report the sizes of its blobs, a second push sends none of them again, and
// a comparison finds no difference.
func TestRegistryThatReportsNoSizes(t *testing.T) {
	t.Parallel()
	s := newSetup(t, registrytest.Options{}, push.Selection{})
	s.mustPush(t)
	r := s.plan.Repositories[0]
	for _, m := range r.Manifests {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, s.registry.URL+"/v2/"+r.Name+"/manifests/"+m.Digest.String(), nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil || resp.StatusCode != http.StatusAccepted {
			t.Fatal(resp, err)
		}
		resp.Body.Close()
	}
	s.registry.Inject(unsized)
	s.registry.Forget()
	summary := s.mustPush(t)
	if summary.Blobs.Pushed != 0 || summary.Blobs.Present == 0 || summary.Manifests.Pushed != len(r.Manifests) {
		t.Errorf("%+v", summary)
	}
}

// If the registry shows no tag lists and no referrers, a comparison reports what it could not find out.
func TestRefusedComparisons(t *testing.T) {
	t.Parallel()
	s := newSetup(t, registrytest.Options{}, push.Selection{})
	s.mustPush(t)
	s.registry.Inject(registrytest.Answer(registrytest.On("GET referrers"), http.StatusForbidden))
	s.registry.Inject(page(registrytest.On("GET tags")))
	c, err := push.Compare(t.Context(), s.client, s.plan, 4)
	if err != nil || len(c.Differences) != 0 || len(c.Unproven) != 0 || len(c.Notices) != len(s.plan.Repositories) {
		t.Errorf("%+v, %v", c, err)
	}
	// If no referrers tag exists either, it is unknown whether referrers are listed.
	s.registry.Inject(registrytest.Answer(func(r *http.Request) bool { return strings.Contains(r.URL.Path, "/manifests/sha256-") }, http.StatusNotFound))
	c, err = push.Compare(t.Context(), s.client, s.plan, 4)
	if err != nil || len(c.Differences) != 0 || len(c.Unproven) != 2 || !strings.Contains(c.Unproven[0], "403") {
		t.Errorf("%+v, %v", c, err)
	}
	// Even if no list of tags can be read, a comparison finds missing discovery tags.
	s.registry.Inject(registrytest.Answer(func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/modules/manifests/alpha") }, http.StatusNotFound))
	if c, err = push.Compare(t.Context(), s.client, s.plan, 4); err != nil || len(c.Differences) != 1 || c.Differences[0].Kind != push.Missing {
		t.Errorf("%+v, %v", c, err)
	}
}

// If the registry refuses mounts, the preflight reports this and what to do, before the push sends
// anything. The push still succeeds, and the preflight cancels all of its uploads.
func TestPreflightReportsRefusedMounts(t *testing.T) {
	t.Parallel()
	mounting := func(r *http.Request) bool { return r.Method == http.MethodPost && r.FormValue("mount") != "" }
	dir := t.TempDir()
	buildTree(t, dir)
	for status, want := range map[int]string{401: "right to pull", 403: "right to pull", 405: "pass on POST requests with", 201: "registry's storage", 0: ""} {
		s := newSetup(t, registrytest.Options{}, push.Selection{}, dir)
		if status != 0 {
			s.registry.Inject(registrytest.Answer(mounting, status))
		}
		summary := s.mustPush(t)
		notices := strings.Join(summary.Notices, "\n")
		if notices != strings.Join(s.notices, "\n") || !strings.Contains(notices, want) || strings.HasPrefix(notices, "mounts from mirror/ee") != (want != "") {
			t.Errorf("mounts answered with %d: got the notices %q, want %q", status, notices, want)
		}
		sent := func(q registrytest.Request) bool { return q.Method == http.MethodPut }
		asked := func(q registrytest.Request) bool { return strings.Contains(q.Query, "mount=") }
		if all := s.registry.Requests(); slices.IndexFunc(all, asked) > slices.IndexFunc(all, sent) {
			t.Errorf("mounts answered with %d: the push sent a PUT request before it tried the first mount, want the first mount before", status)
		}
		if (summary.Blobs.Mounted > 0) != (status == 0) {
			t.Errorf("mounts answered with %d: the push mounted %d blobs, want some only if the status is 0", status, summary.Blobs.Mounted)
		}
		kinds := s.registry.Kinds()
		// The preflight starts uploads both below the edition and beside it.
		if begun := kinds["DELETE uploads"]; begun != map[bool]int{true: 4, false: 2}[status == 0] {
			t.Errorf("mounts answered with %d: the push cancelled %d uploads, want 2, or 4 if the status is 0", status, begun)
		}
	}
}

// A push fails if the registry accepts content but does not store it.
func TestPushFailsIfTagsAreNotStored(t *testing.T) {
	t.Parallel()
	s := newSetup(t, registrytest.Options{}, push.Selection{})
	s.registry.Inject(func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		if r.Method != http.MethodPut || !strings.HasSuffix(r.URL.Path, "/manifests/stable") {
			return false
		}
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusCreated)
		return true
	})
	summary, err := s.push(t.Context())
	var unproven *push.ProofError
	if !errors.As(err, &unproven) || len(unproven.Differences) != 4 || summary.Complete {
		t.Errorf("%v", err)
	}
	c, err := push.Compare(t.Context(), s.client, s.plan, 4)
	if err != nil || len(c.Differences) == 0 {
		t.Errorf("%+v, %v", c, err)
	}
}

// If a blob of the tree does not match its digest, a push fails and sends no manifest.
func TestDamagedBlobs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	tree := layouttest.New(t, dir)
	l := tree.Layout("modules/alpha")
	l.Tag(l.Image(layouttest.Image{Name: "x", Layers: [][]byte{[]byte("layer")}}), "v1")
	l.Write()
	if err := os.WriteFile(l.BlobPath(digest.FromString("layer")), []byte("lay3r"), 0o644); err != nil {
		t.Fatal(err)
	}
	s := newSetup(t, registrytest.Options{}, push.Selection{}, dir)
	_, err := s.push(t.Context())
	var side *push.Error
	if !errors.As(err, &side) || side.Side != push.SideTree {
		t.Errorf("%v", err)
	}
	if n := s.registry.Kinds()["PUT manifests"]; n != 0 {
		t.Errorf("the push of a damaged blob sent %d manifests, want 0", n)
	}
}

// A plan leaves out manifests whose content is missing. It contains all other manifests.
func TestMissingContentIsLeftOut(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	tree := buildTree(t, dir)
	if err := os.Remove(tree.Layout("modules/alpha").BlobPath(digest.FromString("alpha"))); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(tree.Layout("deckhouse-cli/plugins/tool").BlobPath(digest.FromString("two"))); err != nil {
		t.Fatal(err)
	}
	to := client.Reference{Registry: "localhost:1", Path: "mirror/ee"}
	plan, err := push.NewPlan(t.Context(), open(t, to, dir), to, push.Selection{})
	if err != nil {
		t.Fatal(err)
	}
	if len(plan.LeftOut) != 3 { // left out are an image, a child, and the index that contains the child
		t.Errorf("%v", plan.LeftOut)
	}
	for _, r := range plan.Repositories {
		for _, tag := range r.Tags {
			if tag.Name == "v2" || r.Name == "mirror/ee/modules/alpha" && tag.Name != "signature" {
				t.Errorf("the plan contains %s:%s, want it left out, because its content is missing", r.Name, tag.Name)
			}
		}
	}
}

// A push skips repositories that have no intact image, and pushes all other repositories.
func TestDamagedRepositoriesAreLeftOut(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	tree := layouttest.New(t, dir)
	for _, name := range []string{"modules/alpha", "modules/beta"} {
		l := tree.Layout(name)
		l.Tag(l.Image(layouttest.Image{Name: name, Layers: [][]byte{[]byte(name)}}), "v1")
		l.Write()
	}
	s := newSetup(t, registrytest.Options{}, push.Selection{}, dir)
	if err := os.Remove(tree.Layout("modules/alpha").BlobPath(digest.FromString("modules/alpha"))); err != nil {
		t.Fatal(err)
	}
	to := s.plan.Destination
	plan, err := push.NewPlan(t.Context(), open(t, to, dir), to, push.Selection{})
	if err != nil {
		t.Fatal(err)
	}
	if len(plan.LeftOut) != 1 || slices.ContainsFunc(plan.Outline().Repositories, func(r *push.Repository) bool { return len(r.Manifests) == 0 }) {
		t.Errorf("%+v", plan.Outline())
	}
	s.plan = plan
	s.mustPush(t)
}

func TestStateFiles(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "new", "state")
	s := newSetup(t, registrytest.Options{Dir: t.TempDir()}, push.Selection{})
	state, err := push.OpenState(dir)
	if err != nil {
		t.Fatal(err)
	}
	s.state = state
	s.registry.Inject(registrytest.Reset(registrytest.Nth(3, 3, registrytest.On("PATCH uploads")), streamFrom*3/4))
	s.dial(t, func(o *client.Options) { o.Retries = -1 })
	if _, err := s.push(t.Context()); err == nil {
		t.Fatal("the first push, with a cut upload, succeeded, want an error")
	}
	files, err := filepath.Glob(dir + "/*")
	if err != nil || len(files) < 2 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v, %v", info.Mode(), err)
		}
	}
	s.dial(t)
	before := s.client.Stats().Sent
	s.mustPush(t)
	if sent := s.client.Stats().Sent - before; sent > streamFrom/2 {
		t.Errorf("the second push sent %d bytes, want at most %d: the registry already had about three quarters of the blob", sent, streamFrom/2)
	}
	if files, _ = filepath.Glob(dir + "/*"); len(files) != 0 {
		t.Errorf("files of the state after the push: got %v, want none", files)
	}
}

// A push may take more than a day, and its next run may be after a weekend. The uploads in its state have
// expired then, but the blobs that have arrived are still not sent again, even before the first tag.
func TestPushResumesAfterDays(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := newSetup(t, registrytest.Options{Dir: t.TempDir()}, push.Selection{})
	reopen := func() {
		t.Helper()
		var err error
		if s.state, err = push.OpenState(dir); err != nil {
			t.Fatal(err)
		}
	}
	reopen()
	s.registry.Inject(registrytest.Answer(registrytest.On("PUT manifests"), 500))
	s.dial(t, func(o *client.Options) { o.Retries = -1 })
	if _, err := s.push(t.Context()); err == nil {
		t.Fatal("the first push, whose manifests are refused, succeeded, want an error")
	}
	s.registry.Heal()
	files, err := filepath.Glob(dir + "/*")
	if err != nil || len(files) == 0 {
		t.Fatalf("the state of the interrupted push has the files %v (error %v), want some", files, err)
	}
	old := time.Now().Add(-72 * time.Hour)
	for _, file := range files {
		if err := os.Chtimes(file, old, old); err != nil {
			t.Fatal(err)
		}
	}
	reopen()
	s.dial(t)
	s.mustPush(t)
	if sent := s.client.Stats().Sent; sent > streamFrom/2 {
		t.Errorf("the second push sent %d bytes, want at most %d: the registry already had the blobs", sent, streamFrom/2)
	}
	if files, _ = filepath.Glob(dir + "/*"); len(files) != 0 {
		t.Errorf("files of the state after the push: got %v, want none", files)
	}
}

// A push proves only its own content. After a push that has written everything but proved nothing, a push of
// other content to the same destination must not make the next push trust what the first one has sent.
func TestPushOfOtherContentProvesNothingElse(t *testing.T) {
	t.Parallel()
	dir, sources, stateDir := t.TempDir(), t.TempDir(), t.TempDir()
	buildTree(t, sources)
	s := newSetup(t, registrytest.Options{Dir: dir}, push.Selection{}, sources)
	var err error
	if s.state, err = push.OpenState(stateDir); err != nil {
		t.Fatal(err)
	}
	s.registry.Inject(registrytest.Answer(registrytest.On("HEAD blobs"), 500))
	s.dial(t, func(o *client.Options) { o.Retries = -1 })
	if _, err := s.push(t.Context()); err == nil {
		t.Fatal("the first push, which can prove no blob, succeeded, want an error")
	}
	s.registry.Heal()
	lose(t, storage(dir).blob(digest.FromString("alpha")))
	s.dial(t)
	all, to := s.plan, s.plan.Destination
	if s.plan, err = push.NewPlan(t.Context(), open(t, to, sources), to, push.Selection{Include: []string{"modules/beta"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.push(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.plan = all
	s.mustPush(t) // this also compares the registry with the plan
	if files, err := filepath.Glob(stateDir + "/*"); err != nil || len(files) != 0 {
		t.Errorf("files of the state after all pushes: got %v (error %v), want none", files, err)
	}
}

// Without a directory, a State lasts as long as the process: after a failure, the next push resumes.
// Another process that marks its State sends nothing that has arrived, even before the first tag.
func TestStateInMemory(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fault registrytest.Fault
		next  func(s *setup)
	}{
		"the same process, upload cut": {
			registrytest.Reset(registrytest.Nth(3, 3, registrytest.On("PATCH uploads")), streamFrom*3/4), func(*setup) {}},
		"another process, manifests refused": {
			registrytest.Answer(registrytest.On("PUT manifests"), 500), func(s *setup) {
				s.state = &push.State{}
				s.state.MarkInterrupted(s.plan.Destination)
			}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSetup(t, registrytest.Options{Dir: t.TempDir()}, push.Selection{})
			s.state = &push.State{}
			s.registry.Inject(c.fault)
			s.dial(t, func(o *client.Options) { o.Retries = -1 })
			if _, err := s.push(t.Context()); err == nil {
				t.Fatal("the first push, with a fault, succeeded, want an error")
			}
			s.registry.Heal()
			c.next(s)
			s.dial(t)
			s.mustPush(t)
			if sent := s.client.Stats().Sent; sent > streamFrom/2 {
				t.Errorf("the second push sent %d bytes, want at most %d: the registry already had the rest", sent, streamFrom/2)
			}
		})
	}
}

func TestWritableStates(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	state, err := push.OpenState(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := state.CheckWritable(); err != nil {
		t.Error(err)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) > 0 {
		t.Errorf("after CheckWritable, the directory has the files %v (error %v), want none", files, err)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]*push.State{"removed directory": state, "memory": {}} {
		if s.CheckWritable() == nil {
			t.Errorf("CheckWritable of a State in %s returned no error, want one", name)
		}
	}
}

// Several servers of a machine may share a state directory, and start at the same time.
func TestWritableStatesOfSeveralProcesses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var done sync.WaitGroup
	for range 8 {
		done.Go(func() {
			state, err := push.OpenState(dir)
			if err != nil {
				t.Error(err)
				return
			}
			for range 10 {
				if err := state.CheckWritable(); err != nil {
					t.Errorf("CheckWritable returned %v while others check the same directory, want no error", err)
					return
				}
			}
		})
	}
	done.Wait()
}
