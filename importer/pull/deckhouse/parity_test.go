package deckhouse_test

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/layoutproxy/layoutproxy/importer/pull/deckhouse"
	"github.com/layoutproxy/layoutproxy/importer/pull/pulltest"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/registry/registrytest"
)

func expected(t *testing.T) map[string]string {
	t.Helper()
	data, err := os.ReadFile("../../../cmd/layoutproxy/testdata/d8/expected.tsv")
	layouttest.Try(t, err)
	all := map[string]string{}
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		all[f[0]+":"+f[1]] = f[2]
	}
	return all
}

// addInstallChannels adds the channels of the install image, which older versions of d8 do not
// write. They point at the versions of the release channels, as section 6.1 of
// docs/mirror-bundle-layout.md (2026-10-01) in deckhouse-cli requires.
func addInstallChannels(want map[string]string) {
	for channel, version := range map[string]string{"alpha": "v1.70.1", "beta": "v1.70.1", "early-access": "v1.69.3", "stable": "v1.69.3", "rock-solid": "v1.68.2"} {
		want["deckhouse/ee/install:"+channel] = want["deckhouse/ee/install:"+version]
	}
}

// pullOverOlderBundle pulls into a directory with the bundle of an older tool. It fails if the pull
// fetches any content that this bundle has.
func pullOverOlderBundle(t *testing.T, r *registrytest.Registry) {
	o := options(t, r, "deckhouse/ee")
	layouttest.Try(t, os.CopyFS(o.Dir, os.DirFS("../../../cmd/layoutproxy/testdata/d8")))
	r.Forget()
	pulltest.Run(t, o)
	if n := r.Kinds()["GET blobs"]; n != 0 {
		t.Errorf("the pull fetched %d blobs, want 0, because the older bundle has all of them", n)
	}
	pulltest.Intact(t, pulltest.Open(t, "deckhouse/ee", o.Dir))
}

// A pull of archives reuses the blobs of a tree in the same directory.
func TestPullOverTree(t *testing.T) {
	s := lean(t)
	s.writeAll()
	r, _ := pulltest.Serve(t, s.tree.Dir())
	o := options(t, r, edition)
	o.Planner = selecting(only(func(s *deckhouse.Selection) { s.IncludeModules = []string{"stronghold"} }))
	o.Tree = true
	pulltest.Run(t, o)
	o.Tree = false
	r.Forget()
	pulltest.Run(t, o)
	if n := r.Kinds()["GET blobs"]; n != 0 {
		t.Errorf("the pull fetched %d blobs, want 0, because the tree has all of them", n)
	}
	pulltest.Intact(t, pulltest.OpenAt(t, edition, o.Dir+"/module-stronghold.tar"))
}

// d8Source returns a registry with the content of the bundle that d8 wrote.
func d8Source(t *testing.T) *registrytest.Registry {
	t.Helper()
	r := registrytest.New(t, registrytest.Options{})
	pulltest.Push(t, r, pulltest.Open(t, "deckhouse/ee", "../../../cmd/layoutproxy/testdata/d8"))
	return r
}

// If a registry has the content of a bundle, a pull from it writes a bundle with exactly the same
// tags and digests.
func TestPullWritesSameTagsAsD8(t *testing.T) {
	r := d8Source(t)
	o := options(t, r, "deckhouse/ee")
	r.Forget()
	pulltest.Run(t, o)
	s := pulltest.Open(t, "deckhouse/ee", o.Dir)
	pulltest.Intact(t, s)
	want, got := expected(t), pulltest.Listed(t, s)
	addInstallChannels(want)
	for key, d := range want {
		if d == "-" {
			want[key] = got[key]
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	seen := map[string]bool{}
	for _, q := range r.Requests() {
		if key := q.Path[strings.LastIndex(q.Path, "/")+1:]; q.Kind() == "GET blobs" {
			if seen[key] {
				t.Errorf("the pull fetched %s twice, want only once", q.Path)
			}
			seen[key] = true
		}
	}
	t.Run("into a directory with an older tool's bundle", func(t *testing.T) { pullOverOlderBundle(t, r) })
}
