package drop_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/importer/drop"
	"github.com/layoutproxy/layoutproxy/importer/importertest"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// model is a drop directory and its store, with two rules. First, a bundle is in the store
// completely or not at all, and stays there. Second, a file stays in the drop directory until its
// bundle is in the store or is refused.
type model struct {
	*testing.T
	rand       *rand.Rand
	dir, store string
	remove     bool // whether imported files are removed instead of moved
	now        time.Time
	serial     int

	put map[string]*dropFile // files in the drop directory, by path below it

	bundles []importertest.Content // content of every bundle that was ever written

	have importertest.Content // content of the store when it was last checked

	done int // number of bundles in the store

	dying int // the process ends when this countdown reaches 1; 0 means never

	guard   error // error that Options.Guard returns
	meddle  func()
	history []string
	drop    *drop.Drop

	byHands  []string // directories of bundles that were imported without the drop directory
	repaired int
	live     *layoutstore.Tree // tree of a running server; nil before the first call of quarantine
}

type dropFile struct {
	data   []byte
	bundle importertest.Content // bundle of the file; nil if the file belongs to no bundle and must stay
}

func newModel(t *testing.T, seed uint64) *model {
	m := &model{T: t, rand: rand.New(rand.NewPCG(seed, 17)), dir: importertest.Scratch(t), store: filepath.Join(importertest.Scratch(t), "store"),
		remove: seed%2 == 0, now: time.Now().Add(time.Hour), put: map[string]*dropFile{}, have: importertest.Content{}}
	m.restart()
	return m
}

// restart replaces the Drop with a new one, as if the process had been restarted.
func (m *model) restart() {
	i := importertest.New(m.T, m.store)
	i.Before(m.step)
	var err error
	m.drop, err = i.NewDrop(drop.Options{Dir: m.dir, Settle: time.Second, Remove: m.remove, Now: func() time.Time { return m.now },
		Guard: func() error { return m.guard }})
	m.check(err)
}

// step runs before each change by the program. It may change files first, or end the process.
func (m *model) step(string, string) error {
	if m.meddle != nil && m.rand.IntN(20) == 0 {
		meddle := m.meddle
		m.meddle = nil
		meddle()
	}
	if m.dying > 1 {
		m.dying--
	}
	if m.dying == 1 {
		return importertest.ErrDead
	}
	return nil
}

func (m *model) check(err error) {
	m.Helper()
	if err != nil {
		m.Fatalf("got the error %v, want none, after these actions: %s", err, strings.Join(m.history, "; "))
	}
}

func (m *model) next() int { m.serial++; return m.serial }

func (m *model) write(name string, data []byte, bundle importertest.Content) {
	file := filepath.Join(m.dir, name)
	m.check(os.MkdirAll(filepath.Dir(file), 0o755))
	m.check(os.WriteFile(file+".writing", data, 0o644))
	// Each file gets a different modification time, as users' files have. Otherwise, a file and its
	// replacement could have the same time and the same inode.
	at := time.Now().Add(-24*time.Hour + time.Duration(m.next())*time.Second)
	m.check(os.Chtimes(file+".writing", at, at))
	m.check(os.Rename(file+".writing", file))
	m.put[name] = &dropFile{data, bundle}
}

// tree writes a new bundle into a directory: a tree of one or two layouts.
func (m *model) tree(dir string) (*layouttest.Tree, importertest.Content) {
	tree := layouttest.New(m.T, dir)
	n := m.next()
	for i := range 1 + m.rand.IntN(2) {
		l := tree.Layout(fmt.Sprintf("app/%c%d", 'a'+m.rand.IntN(3), i))
		l.Tag(l.Image(layouttest.Image{Name: fmt.Sprint("image", n), LayerSizes: []int64{1500}}), fmt.Sprintf("v%d", n))
		l.Write()
	}
	bundle := importertest.MustContent(m.T, dir)
	m.bundles = append(m.bundles, bundle)
	return tree, bundle
}

// archive puts a new bundle into the drop directory: an archive at name, as one file or as chunks.
func (m *model) archive(name string, chunked bool) {
	tree, bundle := m.tree(m.TempDir())
	file := filepath.Join(m.TempDir(), filepath.Base(name))
	tree.Archive(file, layouttest.Archive{})
	files := []string{file}
	if chunked {
		files = layouttest.Cut(m.T, file, 4000)
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		m.check(err)
		m.write(filepath.Join(filepath.Dir(name), filepath.Base(f)), data, bundle)
	}
}

// directory puts a directory into the drop directory. It may have an archive, a tree and other files.
func (m *model) directory() {
	name := fmt.Sprintf("dir%d", m.next())
	if m.rand.IntN(2) == 0 {
		m.archive(name+"/x.tar", m.rand.IntN(2) == 0)
	}
	if m.rand.IntN(2) == 0 {
		_, bundle := m.tree(filepath.Join(m.dir, name))
		for path, data := range importertest.Contents(m.T, filepath.Join(m.dir, name)) {
			path = name + path
			if m.put[path] == nil {
				m.put[path] = &dropFile{[]byte(data), bundle}
			}
		}
	}
	m.addUnreadFiles(name)
}

// addUnreadFiles adds files to a directory. No import reads these files.
func (m *model) addUnreadFiles(dir string) {
	for range m.rand.IntN(3) {
		name := []string{"notes.txt", "deckhousereleases.yaml", ".b.tar.Ab3xYz", "b.tar.filepart", "b.tgz", "sub/c.tar", "c.tar.00.chunk",
			".hidden", "app/a0/README", "app/a0/blobs/sha256/" + strings.Repeat("ab", 32), "d.tar"}[m.rand.IntN(11)]
		if m.put[filepath.Join(dir, name)] == nil {
			m.write(filepath.Join(dir, name), fmt.Appendf(nil, "an import does not read file %d", m.next()), nil)
		}
	}
	if m.rand.IntN(6) == 0 {
		_ = layouttest.MakePipe(filepath.Join(m.dir, dir, "pipe")) // an error does not matter: not every directory needs a pipe
	}
}

func (m *model) act() {
	what := "a scan"
	switch m.rand.IntN(13) {
	case 0, 1:
		what = "an archive"
		m.archive(fmt.Sprintf("%c.tar", 'a'+m.rand.IntN(3)), false)
	case 2:
		what = "chunks"
		m.clear(func(name string) bool { return strings.HasPrefix(name, "a.tar.0") })
		m.archive("a.tar", true)
	case 3, 4:
		what = "a directory"
		m.directory()
	case 5:
		what = "other things"
		m.addUnreadFiles("")
		m.addUnreadFiles(m.pickDirectory())
	case 6:
		what = "remove a file"
		if dir := m.pickDirectory(); dir != "" {
			m.clear(func(name string) bool { return strings.HasPrefix(name, dir+"/") && m.put[name].bundle == nil })
		}
	case 7:
		what = "a scan that the guard forbids"
		m.guard = errors.New("they overlap")
		before := importertest.Contents(m.T, m.dir)
		m.scan()
		if !maps.Equal(before, importertest.Contents(m.T, m.dir)) {
			m.Fatal("a scan moved files, want none moved, because the guard forbids it")
		}
		m.guard = nil
		m.restart()
	case 8:
		what = "an import of a bundle elsewhere"
		m.byHand()
	case 12:
		what = "a blob is damaged, found by a scrub, and repaired"
		m.rot()
	case 9, 10:
		m.dying = 2 + m.rand.IntN(120)
		what = fmt.Sprintf("a scan that dies at step %d", m.dying)
		m.scan()
		m.dying = 0
		m.restart()
	default:
		m.meddle = func() {
			m.history = append(m.history, "meanwhile: ")
			if dir := m.pickDirectory(); dir != "" && m.rand.IntN(2) == 0 {
				m.addUnreadFiles(dir)
				return
			}
			m.archive("a.tar", m.rand.IntN(2) == 0)
		}
		m.scan()
		m.meddle = nil
	}
	m.history = append(m.history, what)
}

// pickDirectory returns a random dropped directory, or "" if there is none.
func (m *model) pickDirectory() string {
	dirs := map[string]bool{}
	for name := range m.put {
		if dir, _, ok := strings.Cut(name, "/"); ok {
			dirs[dir] = true
		}
	}
	all := slices.Sorted(maps.Keys(dirs))
	if len(all) == 0 {
		return ""
	}
	return all[m.rand.IntN(len(all))]
}

func (m *model) clear(which func(name string) bool) {
	for _, name := range slices.Sorted(maps.Keys(m.put)) {
		if which(name) {
			m.check(os.Remove(filepath.Join(m.dir, name)))
			delete(m.put, name)
		}
	}
}

// byHand imports a bundle that is not in the drop directory. The import must not change its files.
func (m *model) byHand() {
	dir := m.TempDir()
	m.tree(dir)
	before := importertest.Contents(m.T, dir)
	i := importertest.New(m.T, m.store)
	if m.rand.IntN(2) == 0 {
		m.dying = 2 + m.rand.IntN(80)
	}
	i.Before(m.step)
	_, err := i.Import(m.Context(), dir)
	if m.dying = 0; err != nil && !errors.Is(err, importertest.ErrDead) {
		m.check(err)
	}
	if err == nil {
		m.byHands = append(m.byHands, dir)
	}
	if !maps.Equal(before, importertest.Contents(m.T, dir)) {
		m.Fatal("an import without the drop directory changed the files of its bundle, want no change")
	}
}

// rot damages a layer in the store, and quarantines it as a scrub does. Until the layer is
// repaired, it must not be served, even if its file changes. Then rot imports the layer's bundle
// again. This must repair the layer, even if an earlier import is killed.
func (m *model) rot() {
	if len(m.byHands) == 0 {
		return
	}
	bundle := m.byHands[m.rand.IntN(len(m.byHands))]
	layer := importertest.LargestFile(m.T, bundle, "/blobs/")
	d := digest.NewDigestFromEncoded(digest.SHA256, filepath.Base(layer))
	copies, err := filepath.Glob(filepath.Join(m.store, "app", "*", "blobs", "sha256", d.Encoded()))
	if m.check(err); len(copies) == 0 {
		m.Fatalf("the store has no copy of the layer %s, want at least one, after these actions: %s", d, strings.Join(m.history, "; "))
	}
	importertest.Flip(m.T, copies[0], m.rand.Int64N(100)) // changes all hard links of this file, too
	for _, file := range copies {
		if data, err := os.ReadFile(file); err != nil || d.Algorithm().FromBytes(data) == d {
			importertest.Flip(m.T, file, 7) // this copy is a separate file, not a hard link
		}
	}
	m.quarantine(d, copies)
	m.check(os.Link(copies[0], filepath.Join(filepath.Dir(m.store), fmt.Sprint("another name ", m.next()))))
	m.check(os.Chmod(copies[0], 0o640))
	m.wantServed(d, copies, false)

	i := importertest.New(m.T, m.store)
	i.Before(m.step)
	m.dying = 2 + m.rand.IntN(60)
	if _, err := i.Import(m.Context(), bundle); err != nil && !errors.Is(err, importertest.ErrDead) {
		m.check(err)
	}
	m.dying = 0
	_, err = importertest.New(m.T, m.store).Import(m.Context(), bundle)
	m.check(err)
	for _, file := range copies {
		importertest.Proven(m.T, file)
	}
	m.wantServed(d, copies, true)
	m.repaired++
}

// quarantine quarantines all copies of a blob, as a scrub does with damaged copies.
func (m *model) quarantine(d digest.Digest, copies []string) {
	m.Helper()
	if m.live == nil {
		tree, err := layoutstore.Open(m.Context(), layoutstore.Options{Sources: []string{m.store}, Indexes: []string{}})
		m.check(err)
		m.live = tree
	}
	for repo := range m.repositories(copies) {
		for _, l := range repo.Layouts() {
			stamp, err := l.Stamp(m.Context(), d)
			m.check(err)
			_, err = repo.Quarantine(m.Context(), l, d, stamp, "wrong")
			m.check(err)
		}
	}
	m.wantServed(d, copies, false)
}

// wantServed checks all repositories that have copies of a blob. If want is true, the running
// server must serve the blob there; otherwise, it must refuse it.
func (m *model) wantServed(d digest.Digest, copies []string, want bool) {
	m.Helper()
	for repo := range m.repositories(copies) {
		if _, err := repo.Blob(m.Context(), d); (err == nil) != want {
			m.Fatalf("the blob %s is served: got %v, want %v; error %v, after these actions: %s", d, !want, want, err, strings.Join(m.history, "; "))
		}
	}
}

func (m *model) repositories(files []string) map[*layoutstore.Repository]bool {
	m.Helper()
	_, err := m.live.Refresh(m.Context())
	m.check(err)
	all := map[*layoutstore.Repository]bool{}
	for _, file := range files {
		name, err := filepath.Rel(m.store, file)
		m.check(err)
		path, _, _ := strings.Cut(filepath.ToSlash(name), "/blobs/")
		repo, err := m.live.Snapshot().At(path)
		m.check(err)
		all[repo] = true
	}
	return all
}

func (m *model) scan() {
	m.now = m.now.Add(time.Hour)
	_, _, err := m.drop.Scan(context.WithoutCancel(m.Context()))
	m.check(err)
}

// checkAll fails if the store or the drop directory breaks a rule of the model.
func (m *model) checkAll() {
	m.Helper()
	got := importertest.Content{}
	if _, err := os.Stat(m.store); err == nil {
		got = importertest.MustContent(m.T, m.store)
	}
	for tag, digest := range m.have {
		if got[tag] != digest {
			m.Fatalf("the tag %s of the store was removed or changed, want it unchanged, after these actions: %s", tag, strings.Join(m.history, "; "))
		}
	}
	m.have, m.done = got, 0
	for _, bundle := range m.bundles {
		switch n := m.tagsOf(bundle); n {
		case len(bundle) - untagged(bundle):
			m.done++
		case 0:
		default:
			m.Fatalf("the store has %d tags of the bundle %v, want all or none, after these actions: %s", n, bundle, strings.Join(m.history, "; "))
		}
	}
	moved := map[string][]string{} // by content
	for name, data := range importertest.Contents(m.T, m.dir) {
		moved[data] = append(moved[data], name[1:])
	}
	for _, name := range slices.Sorted(maps.Keys(m.put)) {
		m.checkFile(name, moved[string(m.put[name].data)])
	}
}

func untagged(bundle importertest.Content) (n int) {
	for _, digest := range bundle {
		if digest == "" {
			n++
		}
	}
	return n
}

func (m *model) tagsOf(bundle importertest.Content) (n int) {
	for tag, digest := range bundle {
		if digest != "" && m.have[tag] == digest {
			n++
		}
	}
	return n
}

// checkFile fails if a file has left the drop directory although its bundle was neither published
// nor refused. If the bundle was published or refused, the model forgets the file. places lists all
// paths at which the file's content is now.
func (m *model) checkFile(name string, places []string) {
	m.Helper()
	data, err := os.ReadFile(filepath.Join(m.dir, name))
	file := m.put[name]
	if err == nil && bytes.Equal(data, file.data) {
		return
	}
	delete(m.put, name)
	isIn := func(to string) bool {
		return slices.ContainsFunc(places, func(p string) bool {
			return strings.HasPrefix(p, to) || strings.HasSuffix(p, ".layoutproxy-remove")
		})
	}
	published := file.bundle != nil && m.tagsOf(file.bundle) == len(file.bundle)-untagged(file.bundle)
	if isIn("failed/") || published && (m.remove || isIn("done/")) {
		return
	}
	m.Fatalf("the file %s (part of a bundle: %v, bundle published: %v) is gone or changed; its content is now at %q; want it in failed/ or, if its bundle is published, in done/ (or nowhere if imported bundles are removed: %v); actions: %s", name, file.bundle != nil, published, places, m.remove, strings.Join(m.history, "; "))
}

// TestRandomActions performs random actions on a drop directory and its store: it drops, imports,
// damages and removes bundles, and kills processes. After each action, the rules of the model hold.
// LAYOUTPROXY_TEST_ALL=1 tries many more orders.
func TestRandomActions(t *testing.T) {
	seeds, acts := uint64(5), 40
	if os.Getenv("LAYOUTPROXY_TEST_ALL") != "" {
		seeds = 100
	}
	published, gone, repaired := 0, 0, 0
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			m := newModel(t, seed)
			for range acts {
				m.act()
				m.checkAll()
			}
			for range 4 { // without interruption
				m.scan()
				m.checkAll()
			}
			published += m.done
			gone += m.serial - len(m.put)
			repaired += m.repaired
		})
	}
	if !t.Failed() && (published < int(seeds)*3 || gone == 0 || repaired == 0) {
		t.Errorf("%d bundles were published, want at least %d; %d files were moved or removed and %d blobs repaired, want at least 1 of each", published, seeds*3, gone, repaired)
	}
	t.Logf("%d bundles published, %d blobs repaired", published, repaired)
}
