package pull_test

import (
	"context"
	"errors"
	"hash"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/layoutproxy/layoutproxy/importer/pull"
	"github.com/layoutproxy/layoutproxy/importer/pull/pulltest"
	"github.com/layoutproxy/layoutproxy/importer/verify"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/layoutstore/streebog"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
	"github.com/layoutproxy/layoutproxy/registry/registrytest"
)

// versions returns two registries with an older and a newer state of the same repositories. Between
// them, tags move, appear and disappear, others stay, and one repository is new.
func versions(t *testing.T) (older, newer *registrytest.Registry) {
	t.Helper()
	serve := func(tags map[string]string) *registrytest.Registry {
		tree := layouttest.New(t, t.TempDir())
		layouts := map[string]*layouttest.Layout{}
		for _, place := range slices.Sorted(maps.Keys(tags)) {
			at, tag, _ := strings.Cut(place, ":")
			if layouts[at] == nil {
				layouts[at] = tree.Layout("shop/" + at)
			}
			layouts[at].Tag(layouts[at].Image(layouttest.Image{Name: tags[place], LayerSizes: []int64{3000}}), tag)
		}
		for _, l := range layouts {
			l.Write()
		}
		r, _ := pulltest.Serve(t, tree.Dir())
		return r
	}
	older = serve(map[string]string{"app:stable": "one", "app:v1": "one", "app:same": "same", "base:stable": "base one", "base:v1": "x", "kept:v1": "kept"})
	newer = serve(map[string]string{"app:stable": "two", "app:v2": "two", "app:same": "same", "base:stable": "base two", "kept:v1": "kept", "more:v1": "more"})
	return older, newer
}

type form struct {
	tree  bool
	chunk int64
	gost  bool
}

func (f form) options(t *testing.T, r *registrytest.Registry, dir string, repositories ...string) pull.Options {
	o := pulltest.Options(t, r, "shop")
	o.Dir, o.Planner, o.Tree, o.ChunkSize = dir, pull.Repositories{Paths: repositories}, f.tree, f.chunk
	if f.gost {
		o.NewSum = func() hash.Hash { return streebog.New() }
	}
	return o
}

// readBundle verifies the bundle in a directory like a new reader. It returns the tags and checksum
// files that the reader finds.
func readBundle(t *testing.T, dir string) (map[string]string, error) {
	t.Helper()
	tree, err := layoutstore.Open(t.Context(), layoutstore.Options{Sources: []string{dir}, Roots: []string{"r"}, Indexes: []string{}})
	layouttest.Try(t, err)
	report, err := verify.Run(t.Context(), tree.Snapshot(), verify.Options{})
	layouttest.Try(t, err)
	got := pulltest.Listed(t, tree.Snapshot())
	if !report.Whole && len(got) > 0 {
		var text strings.Builder
		layouttest.Try(t, report.WriteText(&text))
		// A layout of the new tree may not have an index yet. Any other problem is an error.
		if s := text.String(); !strings.Contains(s, "without its index.json") || strings.Contains(s, "checksum ") {
			return got, errors.New(s)
		}
	}
	return got, nil
}

// At each step of a pull into a directory with an older bundle, readers see either the complete
// older bundle or the complete newer one. This holds for new readers and for existing ones.
func TestEveryStepShowsOneBundle(t *testing.T) {
	older, newer := versions(t)
	for name, forms := range map[string][2]form{
		"archives over archives": {{}, {}},
		"chunks over an archive": {{}, {chunk: 4000}},
		"an archive over chunks": {{chunk: 4000}, {}},
		"smaller chunks":         {{chunk: 6000}, {chunk: 4000}},
		"larger chunks":          {{chunk: 4000}, {chunk: 6000}},
		"checksums come":         {{}, {gost: true}},
		"checksums change":       {{gost: true}, {gost: true, chunk: 5000}},
		"checksums go":           {{gost: true, chunk: 5000}, {}},
		"a tree over a tree":     {{tree: true}, {tree: true}},
	} {
		quick := []string{"an archive over chunks", "checksums change", "a tree over a tree"}
		if os.Getenv("LAYOUTPROXY_TEST_ALL") == "" && !slices.Contains(quick, name) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			seen := watchPull(t, forms[0].options(t, older, dir, "app", "base", "kept"), nil)
			watchPull(t, forms[1].options(t, newer, dir, "app", "base", "kept", "more"), seen)
		})
	}
}

// watchPull pulls a bundle, and reads the directory at each step. It returns the content of the
// directory after the pull.
func watchPull(t *testing.T, o pull.Options, old map[string]string) map[string]string {
	t.Helper()
	elsewhere := o
	elsewhere.Dir = t.TempDir()
	pulltest.Run(t, elsewhere)
	fresh, err := readBundle(t, elsewhere.Dir)
	layouttest.Try(t, err)
	live, err := layoutstore.Open(t.Context(), layoutstore.Options{Sources: []string{o.Dir}, Roots: []string{"r"}, Indexes: []string{}})
	layouttest.Try(t, err)
	published, steps, bad := false, map[string]int{}, false
	var mu sync.Mutex // several goroutines reach points at the same time
	check := func(point string) {
		mu.Lock()
		defer mu.Unlock()
		steps[point]++
		if publishes := []string{"publishing", "moved", "journal", "placing", "removing", "placed all", "published", "finish", "end"}; bad || steps[point] > 1 && !slices.Contains(publishes, point) {
			return // the directory has not changed since this point was reached for the first time
		}
		got, err := readBundle(t, o.Dir)
		now := maps.Equal(got, fresh)
		if err != nil || !now && (published || !maps.Equal(got, old)) {
			bad = true
			t.Errorf("at point %s, visit %d: a new reader sees neither the old nor the new content, want one of them (error %v)\n%s", point, steps[point], err, cmp.Diff(fresh, got))
			return
		}
		published = now
		_, err = live.Refresh(t.Context())
		layouttest.Try(t, err)
		if seen := pulltest.Listed(t, live.Snapshot()); !maps.Equal(seen, got) {
			bad = true
			t.Errorf("at point %s, visit %d: an existing reader and a new one see different content, want the same\n%s", point, steps[point], cmp.Diff(got, seen))
		}
	}
	o.SetReached(check)
	pulltest.Run(t, o)
	if check("end"); !published || steps["placing"] == 0 {
		t.Errorf("at the end, readers see the new content: %v, want true; visits per point: %v, want at least one of placing", published, steps)
	}
	for name := range contents(t, o.Dir) {
		if strings.HasPrefix(name, ".") {
			t.Errorf("after the pull, the directory contains %s, want no hidden files", name)
		}
	}
	return fresh
}

// interrupted runs a pull into a directory until a point is reached for the nth time. The pull then
// stops as if it had been killed.
func interrupted(t *testing.T, o pull.Options, at string, n int) {
	t.Helper()
	died := errors.New("died")
	defer func() {
		if r := recover(); r != died { //nolint:errorlint // the value must be the same, not only equal
			t.Fatalf("panic of the pull at the point = %v, want %v", r, died)
		}
	}()
	o.SetReached(func(point string) {
		if point == at {
			if n--; n == 0 {
				panic(died)
			}
		}
	})
	_, err := pull.Run(t.Context(), o, nil)
	t.Fatalf("the pull ended with error %v, want it stopped at the point %q", err, at)
}

// If the staged files of an interrupted publication are lost, readers refuse the directory, because
// it could mix two bundles. Only the same pull can repair the directory; others are refused, even a pull of the
// same content in another form.
func TestLostFilesOfAPublication(t *testing.T) {
	older, newer := versions(t)
	for name, f := range map[string]form{"archives": {gost: true}, "chunks": {chunk: 4000}, "tree": {tree: true}} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			pulltest.Run(t, f.options(t, older, dir, "app", "base"))
			interrupted(t, f.options(t, newer, dir, "app", "base"), "placing", 2)
			layouttest.Try(t, os.RemoveAll(filepath.Join(dir, volume.StagedDir(1))))
			layouttest.Try(t, os.RemoveAll(filepath.Join(dir, ".tmp")))
			tree, err := layoutstore.Open(t.Context(), layoutstore.Options{Sources: []string{dir}, Indexes: []string{}})
			layouttest.Try(t, err)
			s := tree.Snapshot()
			if p := problemsOf(s); s.TagCount() != 0 || len(p) != 1 || p[0].Kind != layoutstore.Incomplete || !strings.Contains(p[0].Reason, "run the same pull again") {
				t.Errorf("a reader sees %d tags and the problems %v; want no tags, and 1 problem that says to run the same pull again", s.TagCount(), p)
			}
			for what, o := range map[string]pull.Options{
				"a different pull":             f.options(t, newer, dir, "kept"),
				"the pull in a different form": form{tree: !f.tree}.options(t, newer, dir, "app", "base"),
			} {
				if _, err := pull.Run(t.Context(), o, nil); err == nil || !strings.Contains(err.Error(), "run the interrupted pull again") {
					t.Errorf("%s into the directory: got error %v, want one that says to run the interrupted pull again", what, err)
				}
			}
			o := f.options(t, newer, dir, "app", "base")
			pulltest.Run(t, o)
			want := f.options(t, newer, t.TempDir(), "app", "base")
			pulltest.Run(t, want)
			got, err := readBundle(t, dir)
			if all, _ := readBundle(t, want.Dir); err != nil || !maps.Equal(got, all) {
				t.Errorf("after the same pull again: error %v, want none; content (-want +got): %s", err, cmp.Diff(all, got))
			}
			if f.tree { // a repaired tree still has blobs of the older bundle
				return
			}
			if diff := cmp.Diff(slices.Sorted(maps.Keys(contents(t, want.Dir))), slices.Sorted(maps.Keys(contents(t, dir)))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A pull of a tree does not fail because an older archive of the same repository is damaged.
func TestTreeBesideADamagedArchive(t *testing.T) {
	older, newer := versions(t)
	o := form{}.options(t, older, t.TempDir(), "app")
	pulltest.Run(t, o)
	old, err := readBundle(t, o.Dir)
	layouttest.Try(t, err)
	archive, damaged := filepath.Join(o.Dir, "app.tar"), 0
	for _, p := range layouttest.Places(t, archive) {
		if filepath.Base(p.Name) == strings.TrimPrefix(old["r/app:v1"], "sha256:") {
			pulltest.Flip(t, archive, p.Body)
			damaged++
		}
	}
	if damaged != 1 {
		t.Fatalf("the archive has %d entries with the manifest of v1, want 1", damaged)
	}
	pulltest.Run(t, form{tree: true}.options(t, newer, o.Dir, "app"))
	want := form{}.options(t, newer, t.TempDir(), "app")
	pulltest.Run(t, want)
	all, err := readBundle(t, want.Dir)
	layouttest.Try(t, err)
	got := pulltest.Listed(t, pulltest.OpenAt(t, "r", o.Dir))
	for tag, d := range all {
		if got[tag] != d {
			t.Errorf("digest of %s in the bundle = %q, want %s", tag, got[tag], d)
		}
	}
}

// If a pull has published a bundle but cannot move its files into place, the error says that the bundle is published.
// The next pull moves the files.
func TestFilesThatCannotBeMoved(t *testing.T) {
	older, newer := versions(t)
	o := form{}.options(t, older, t.TempDir(), "app")
	pulltest.Run(t, o)
	want := form{}.options(t, newer, t.TempDir(), "app")
	pulltest.Run(t, want)
	all, err := readBundle(t, want.Dir)
	layouttest.Try(t, err)
	o = form{}.options(t, newer, o.Dir, "app")
	archive := filepath.Join(o.Dir, "app.tar")
	o.SetReached(func(point string) {
		if point == "journal" { // no file can replace a directory
			layouttest.Try(t, os.Remove(archive))
			layouttest.Try(t, os.MkdirAll(filepath.Join(archive, "x"), 0o755))
		}
	})
	if _, err := pull.Run(t.Context(), o, nil); err == nil || !strings.Contains(err.Error(), "the bundle is published") {
		t.Errorf("got error %v, want one that says that the bundle is published", err)
	}
	layouttest.Try(t, os.RemoveAll(archive))
	o.SetReached(nil)
	pulltest.Run(t, o)
	if got, err := readBundle(t, o.Dir); err != nil || !maps.Equal(got, all) {
		t.Errorf("after the next pull: error %v, want none; content (-want +got): %s", err, cmp.Diff(all, got))
	}
}

// A pull that cannot read the journal of an interrupted one changes nothing, and says what to do. After
// that, the same pull leads to the complete new bundle.
func TestUnreadableJournals(t *testing.T) {
	older, newer := versions(t)
	for name, c := range map[string]struct {
		change func(journal string) string
		hint   string
		follow func(file, journal string) error
	}{
		"of a later version": {
			func(journal string) string { return strings.Replace(journal, `"format":1`, `"format":2`, 1) },
			"run the interrupted pull again with the version of layoutproxy that began it",
			func(file, journal string) error { return os.WriteFile(file, []byte(journal), 0o666) },
		},
		"malformed": {
			func(journal string) string { return journal[:len(journal)/2] },
			"remove the file " + volume.PublicationFile + ", and run the interrupted pull again",
			func(file, _ string) error { return os.Remove(file) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			f, dir := form{}, t.TempDir()
			pulltest.Run(t, f.options(t, older, dir, "app", "base"))
			interrupted(t, f.options(t, newer, dir, "app", "base"), "placing", 2)
			file := filepath.Join(dir, volume.PublicationFile)
			journal, err := os.ReadFile(file)
			layouttest.Try(t, err)
			unreadable := c.change(string(journal))
			if unreadable == string(journal) {
				t.Fatalf("the journal is unchanged: %s", journal)
			}
			layouttest.WriteFile(t, file, unreadable)
			before := contents(t, dir)
			if _, err := pull.Run(t.Context(), f.options(t, newer, dir, "app", "base"), nil); err == nil || !strings.Contains(err.Error(), c.hint) {
				t.Errorf("got error %v, want one with the hint %q", err, c.hint)
			}
			if diff := cmp.Diff(before, contents(t, dir)); diff != "" {
				t.Errorf("the refused pull has changed the directory (-before +after):\n%s", diff)
			}
			layouttest.Try(t, c.follow(file, string(journal)))
			pulltest.Run(t, f.options(t, newer, dir, "app", "base"))
			want := f.options(t, newer, t.TempDir(), "app", "base")
			pulltest.Run(t, want)
			got, err := readBundle(t, dir)
			if all, _ := readBundle(t, want.Dir); err != nil || !maps.Equal(got, all) {
				t.Errorf("after following the hint: error %v, want none; content (-want +got): %s", err, cmp.Diff(all, got))
			}
		})
	}
}

// A reader that opens the directory again and again during pulls sees only complete states.
func TestReaderDuringPulls(t *testing.T) {
	older, newer := versions(t)
	dir, f := t.TempDir(), form{}
	var states []map[string]string
	for _, r := range []*registrytest.Registry{older, newer} {
		o := f.options(t, r, t.TempDir(), "app", "base", "kept")
		pulltest.Run(t, o)
		got, err := readBundle(t, o.Dir)
		layouttest.Try(t, err)
		states = append(states, got)
	}
	pulltest.Run(t, f.options(t, older, dir, "app", "base", "kept"))
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for last := false; !last; {
			select {
			case <-done:
				last = true
			default:
			}
			tree, err := layoutstore.Open(t.Context(), layoutstore.Options{Sources: []string{dir}, Roots: []string{"r"}, Indexes: []string{}})
			if err != nil {
				t.Error(err)
				return
			}
			if got := pulltest.Listed(t, tree.Snapshot()); !maps.Equal(got, states[0]) && !maps.Equal(got, states[1]) {
				t.Errorf("the reader saw neither the old nor the new content, want one of them: %s", cmp.Diff(states[1], got))
				return
			}
		}
	}()
	for n := range 6 {
		f.chunk = int64(n % 3 * 4000)
		pulltest.Run(t, f.options(t, []*registrytest.Registry{newer, older}[n%2], dir, "app", "base", "kept"))
	}
	close(done)
	<-ended
}

// A publication cannot be written if it lists anything except files of the bundle.
func TestPublicationNames(t *testing.T) {
	for _, name := range []string{"../a.tar", "/a.tar", ".a.tar", "a/../b.tar", ""} {
		if _, err := (volume.Publication{Staged: volume.StagedDir(1), Remove: []string{name}}).Encode(); err == nil {
			t.Errorf("Encode of a publication with the name %q: got no error, want one", name)
		}
	}
}

// problemsOf returns the problems of a snapshot, or the error from reading them as a problem.
func problemsOf(s *layoutstore.Snapshot) []layoutstore.Problem {
	all, err := s.Problems(context.Background())
	if err != nil {
		return []layoutstore.Problem{{Reason: err.Error()}}
	}
	return all
}
