package prune_test

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/importer"
	"github.com/layoutproxy/layoutproxy/importer/importertest"
	"github.com/layoutproxy/layoutproxy/importer/prune"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// content is the content of a store: its tags, and the manifests and blobs in the graphs of its indexes.
type content struct {
	graph map[string]bool // keys are "REPOSITORY DIGEST" of a manifest or blob

	tags map[string]string // digests, by REPOSITORY:TAG
}

// contentOf reads the content of a store. It fails unless all digests are correct.
func contentOf(t *testing.T, store string) content {
	t.Helper()
	tree, err := layoutstore.Open(t.Context(), layoutstore.Options{Sources: []string{store}, Indexes: []string{}})
	if err != nil {
		t.Fatal(err)
	}
	c := content{map[string]bool{}, map[string]string{}}
	s := tree.Snapshot()
	for _, at := range s.Paths() {
		repo, err := s.At(at)
		if err != nil {
			t.Fatal(err)
		}
		if err := importertest.Prove(t.Context(), repo); err != nil {
			t.Fatalf("content of the repository %s: got error %v, want none", at, err)
		}
		graph, err := repo.Graph(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range graph.Manifests {
			c.graph[at+" "+string(m.Digest)] = true
		}
		for _, b := range graph.Blobs {
			c.graph[at+" "+string(b.Digest)] = true
		}
		tags, _ := repo.Tags("", -1)
		for _, tag := range tags {
			if d, err := repo.TagDigest(tag); err == nil {
				c.tags[at+":"+tag] = string(d)
			}
		}
	}
	return c
}

// without returns the content that remains after a plan has removed images and blobs.
func (c content) without(p prune.Plan) content {
	after := content{maps.Clone(c.graph), maps.Clone(c.tags)}
	for _, x := range slices.Concat(p.Remove.Manifests, p.Remove.Blobs) {
		delete(after.graph, x.Repository+" "+string(x.Digest))
	}
	for _, x := range p.Remove.Images {
		for _, tag := range x.Tags {
			delete(after.tags, x.Repository+":"+tag)
		}
	}
	return after
}

func same(t *testing.T, what string, got, want content) {
	t.Helper()
	for name := range want.graph {
		if !got.graph[name] {
			t.Errorf("%s: the store does not have %s, want it kept", what, name)
		}
	}
	for name := range got.graph {
		if !want.graph[name] {
			t.Errorf("%s: the store has %s, want it removed", what, name)
		}
	}
	if !maps.Equal(got.tags, want.tags) {
		importertest.Same(t, what, got.tags, want.tags)
	}
}

// used returns the disk space in bytes that the files of a store occupy. It counts hard links of a file once.
// It skips files in .layoutproxy, and index.json files, as a prune rewrites them.
func used(t *testing.T, store string) (bytes int64) {
	t.Helper()
	seen := map[uint64]bool{}
	err := filepath.WalkDir(store, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || strings.Contains(name, "/.layoutproxy/") || e.Name() == "index.json" {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if inode, size := occupied(t, info); !seen[inode] {
			seen[inode] = true
			bytes += size
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return bytes
}

type stores struct {
	*rand.Rand
	t     *testing.T
	store string
	known []prune.Place // images made so far
}

func pick[T any](r *rand.Rand, all ...T) T { return all[r.IntN(len(all))] }

// image adds a random image, or a random index of two images, to a layout. Images with the same
// random number have the same layers, even in different layouts.
func (s *stores) image(l *layouttest.Layout, subject *specs.Descriptor) specs.Descriptor {
	n := s.IntN(12)
	one := func(n int, subject *specs.Descriptor) specs.Descriptor {
		i := layouttest.Image{Name: fmt.Sprint("image", n%5), LayerSizes: []int64{int64(5000 + n)}, Subject: subject}
		if n%3 == 0 {
			i.Layers = [][]byte{[]byte("a layer that many images share")}
		}
		return l.Image(i)
	}
	if s.IntN(4) == 0 {
		return l.Index(layouttest.Index{Children: []specs.Descriptor{one(n, nil), one(n+1, nil)}, Subject: subject})
	}
	return one(n, subject)
}

func (s *stores) tag(d specs.Descriptor, others []specs.Descriptor) string {
	switch s.IntN(12) {
	case 0:
		return pick(s.Rand, "latest", "stable", "alpha", "2")
	case 1:
		return d.Digest.Encoded()
	case 2:
		return "sha256-" + cmp.Or(pick(s.Rand, append(others, d)...).Digest, d.Digest).Encoded() + pick(s.Rand, "", ".sig", ".att")
	case 3:
		return fmt.Sprintf("v1.%d.0.att", s.IntN(4))
	case 4:
		return fmt.Sprintf("v2.0.0-rc%d", s.IntN(2))
	}
	return fmt.Sprintf("v1.%d.%d", s.IntN(4), s.IntN(2))
}

func (s *stores) bundle() string {
	tree := layouttest.New(s.t, s.t.TempDir())
	for _, at := range []string{".", "app", "modules/one", "modules/one/extra/tool", "modules/one/release"} {
		if s.IntN(3) == 0 {
			continue
		}
		l := tree.Layout(at)
		var made []specs.Descriptor
		for range 1 + s.IntN(5) {
			var subject *specs.Descriptor
			if len(made) > 0 && s.IntN(4) == 0 {
				subject = &made[s.IntN(len(made))]
			}
			d := s.image(l, subject)
			if tag := s.tag(d, made); s.IntN(8) > 0 {
				l.Tag(d, tag)
				s.known = append(s.known, prune.Place{Repository: at, Reference: tag})
			} else {
				l.Add(d)
			}
			made = append(made, d)
			s.known = append(s.known, prune.Place{Repository: at, Reference: d.Digest.String()})
		}
		l.Write()
	}
	dir, err := os.MkdirTemp(filepath.Dir(s.store), "in")
	if err != nil {
		s.t.Fatal(err)
	}
	tree.Bundle(dir)
	return dir
}

func (s *stores) fill() {
	for range 1 + s.IntN(4) {
		i, err := importertest.NewWith(importer.Options{Store: s.store, KeepPacked: s.IntN(2) == 0, Jobs: 1})
		if err != nil {
			s.t.Fatal(err)
		}
		dir := s.bundle()
		if left, _ := os.ReadDir(dir); len(left) == 0 {
			continue
		}
		if _, err := i.Import(s.t.Context(), dir); err != nil {
			s.t.Fatal(err)
		}
	}
}

func (s *stores) declarations() (all prune.Declarations) {
	places := func() (some []prune.Place) {
		for range s.IntN(4) {
			some = append(some, pick(s.Rand, s.known...))
		}
		return some
	}
	if len(s.known) == 0 {
		return all
	}
	for i := range s.IntN(4) {
		x := prune.Release{Of: pick(s.Rand, "modules/one", "."), Tag: fmt.Sprintf("v1.%d.0", i), Own: places(), Declared: places()}
		if s.IntN(8) == 0 {
			x.Unreadable = "damaged"
		}
		all.Releases = append(all.Releases, x)
		c := prune.Channel{Place: pick(s.Rand, s.known...), Of: x.Of, Target: x.Tag}
		all.Channels = append(all.Channels, c)
	}
	return all
}

func (s *stores) policy() (p prune.Policy) {
	for p.IsEmpty() {
		p.KeepNewest = s.IntN(3)
		if s.IntN(3) == 0 {
			p.Keep = append(p.Keep, pick(s.Rand, "app", "**:v1.1.*", "modules/*", "**:latest", ".:v1*"))
		}
		if s.IntN(4) == 0 {
			p.OlderThan = pick(s.Rand, time.Hour, 1000*time.Hour)
		}
	}
	return p
}

func (s *stores) pruner(d prune.Declarations, now *time.Time) *prune.Pruner {
	p, err := prune.New(prune.Options{Store: s.store, Now: func() time.Time { return *now },
		Declared: func(context.Context, *layoutstore.Snapshot) (prune.Declarations, error) { return d, nil }})
	if err != nil {
		s.t.Fatal(err)
	}
	return p
}

// rounds returns the number of rounds of a test: full if LAYOUTPROXY_TEST_ALL is set, otherwise quick.
func rounds(quick, full int) int {
	if os.Getenv("LAYOUTPROXY_TEST_ALL") != "" {
		return full
	}
	return quick
}

// A prune removes exactly what its plan lists, and frees as much disk space as the plan states. A second
// prune with the same rules removes nothing.
func TestPruneRemovesExactlyItsPlan(t *testing.T) {
	removed, repacked, dropped := 0, 0, 0
	for seed := range rounds(6, 400) {
		s := &stores{rand.New(rand.NewPCG(28, uint64(seed))), t, filepath.Join(importertest.Scratch(t), "store"), nil}
		if s.fill(); s.known == nil {
			continue
		}
		now := time.Now().Add(24 * time.Hour)
		p := s.pruner(s.declarations(), &now)
		request := prune.Request{Policy: s.policy(), Grace: pick(s.Rand, 0, 15*time.Minute), Repack: s.IntN(3) == 0}
		before, space := contentOf(t, s.store), used(t, s.store)
		plan, err := p.Run(t.Context(), request)
		if err != nil {
			t.Fatalf("seed %d: Run: got error %v, want none", seed, err)
		}
		removed += len(plan.Remove.Images)
		if request.Grace > 0 {
			s.checkGrace(p, plan, before, &now)
		}
		what := fmt.Sprintf("seed %d, request %+v", seed, request)
		same(t, what, contentOf(t, s.store), before.without(plan))
		if free := space - used(t, s.store); free != plan.Remove.Bytes && !t.Failed() {
			t.Errorf("%s: the prune freed %d bytes, want %d as in the plan", what, free, plan.Remove.Bytes)
		}
		for _, a := range plan.Remove.Archives {
			if a.Rewritten != "" {
				repacked++
			} else {
				dropped++
			}
		}
		if again, err := p.Plan(t.Context(), request); err != nil || !again.IsEmpty() {
			t.Errorf("%s: a second plan removes %+v, error %v; want an empty plan and no error", what, again.Remove, err)
		}
		if left := importertest.Unfinished(t, s.store); len(left) > 0 {
			t.Errorf("%s: unfinished files after the prune: %v, want none", what, left)
		}
		if t.Failed() {
			var text strings.Builder
			_ = plan.WriteText(&text)
			t.Fatal(text.String())
		}
		os.RemoveAll(filepath.Dir(s.store))
	}
	if removed == 0 || repacked+dropped == 0 {
		t.Errorf("all rounds together: %d images removed, want some; %d archives rewritten and %d removed, want one or more", removed, repacked, dropped)
	}
	t.Logf("%d images removed, %d archives rewritten, %d archives removed", removed, repacked, dropped)
}

// checkGrace checks that only tags are removed during the grace period. Then it ends the period,
// and sweeps.
func (s *stores) checkGrace(p *prune.Pruner, plan prune.Plan, before content, now *time.Time) {
	s.t.Helper()
	during := contentOf(s.t, s.store)
	want := before.without(plan)
	same(s.t, "content during the grace period", during, content{before.graph, want.tags})
	if _, next, err := p.Sweep(s.t.Context()); err != nil || !plan.IsEmpty() && !next.Equal(now.Add(15*time.Minute)) {
		s.t.Errorf("Sweep during the grace period: next end %v, error %v; want %v", next, err, now.Add(15*time.Minute))
	}
	*now = now.Add(15 * time.Minute)
	if _, next, err := p.Sweep(s.t.Context()); err != nil || !next.IsZero() {
		s.t.Errorf("Sweep after the grace period: next end %v, error %v; want no next end and no error", next, err)
	}
}

func digestOf(text string) digest.Digest { return digest.FromString(text) }
