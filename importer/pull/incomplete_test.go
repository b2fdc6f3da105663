package pull_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/layoutproxy/layoutproxy/importer/pull"
	"github.com/layoutproxy/layoutproxy/importer/pull/pulltest"
)

// If a pull of repositories may be incomplete, it leaves out tags that lead to missing content.
// Content that other tags also need is kept.
func TestIncompleteRepositories(t *testing.T) {
	tree := varied(t)
	r, _ := pulltest.Serve(t, tree.Dir())
	r.Inject(pulltest.Absent("shop/app/manifests/v1.0"))
	o := pulltest.Options(t, r, "shop")
	o.Planner, o.AllowIncomplete = pull.Repositories{Paths: []string{"app", "."}}, true
	report := pulltest.Run(t, o)
	if got := pulltest.Named(report.Problems); !slices.Equal(got, []string{"app shop/app:v1.0"}) {
		t.Errorf("problems = %q, want only the missing tag shop/app:v1.0", got)
	}
	want := pulltest.Listed(t, pulltest.OpenBare(t, tree.Dir()))
	delete(want, "shop/app:v1.0")
	got := pulltest.OpenAt(t, "shop", o.Dir)
	pulltest.Intact(t, got)
	if diff := cmp.Diff(want["shop/app:latest"], pulltest.Listed(t, got)["shop/app:latest"]); diff != "" {
		t.Error(diff)
	}
	if _, ok := pulltest.Listed(t, got)["shop/app:v1.0"]; ok {
		t.Error("the bundle has the tag shop/app:v1.0, want it absent because the source does not have it")
	}
}
