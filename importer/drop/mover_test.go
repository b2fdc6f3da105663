package drop_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/importer/drop"
	"github.com/layoutproxy/layoutproxy/importer/importertest"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

func (d *dropping) mkdir(name string) {
	d.t.Helper()
	if err := os.MkdirAll(filepath.Join(d.dir, name), 0o755); err != nil {
		d.t.Fatal(err)
	}
}

func (d *dropping) write(name, text string) {
	d.t.Helper()
	d.mkdir(filepath.Dir(name))
	if err := os.WriteFile(filepath.Join(d.dir, name), []byte(text), 0o644); err != nil {
		d.t.Fatal(err)
	}
}

func (d *dropping) remove(name string) {
	d.t.Helper()
	if err := os.Remove(filepath.Join(d.dir, name)); err != nil {
		d.t.Fatal(err)
	}
}

func removing(t *testing.T) *dropping {
	t.Helper()
	d := newDropping(t)
	d.restart(func(o *drop.Options) { o.Remove = true })
	return d
}

// A dropped directory waits if one of its subdirectories has an archive, because such archives are
// not read. None of the files are removed.
func TestDropRefusesArchivesInSubdirectories(t *testing.T) {
	d := removing(t)
	d.mkdir("bundle/disk2")
	d.put(importertest.App(t, "a", "1.0"), "bundle/a.tar")
	d.put(importertest.App(t, "b", "1.0"), "bundle/disk2/b.tar")
	d.scan(0)
	d.scan(time.Minute)
	d.wantStatus("bundle", "waiting", "disk2/b.tar looks like an archive")
	if !d.has("bundle/a.tar") || !d.has("bundle/disk2/b.tar") || d.published > 0 {
		t.Error("a file of the waiting bundle is gone, or the bundle was imported, want neither")
	}
	if err := os.Rename(filepath.Join(d.dir, "bundle/disk2/b.tar"), filepath.Join(d.dir, "bundle/b.tar")); err != nil {
		t.Fatal(err)
	}
	d.scan(time.Second)
	d.scan(time.Minute)
	d.wantStatus("bundle", "published", "")
	if got := importertest.MustContent(t, d.store); len(got) != 4 || d.has("bundle") {
		t.Errorf("the store has the tags %v, want those of both archives, and the bundle gone from the drop directory", got)
	}
}

// A directory waits while it has temporary files of rsync, WinSCP or browsers, parts that other
// tools wrote, or compressed archives. They show that the bundle is not complete. Package volume
// lists these names and the tools that use them.
func TestDropWaitsForTemporaryFiles(t *testing.T) {
	for _, name := range []string{
		".b.tar.Ab3xYz", "b.tar.filepart", "b.tar.part", "b.tar.crdownload", "b.tar.tmp", "b.tar.partial",
		"b.tar.gz", "b.tgz", "b.tar.aa", "b.tar.001", "B.TAR", "b.tar.00.chunk", ".tmp/b",
		"modules/b/.index.json.Ab3xYz", "modules/b/b.tar.0000.chunk", ".rsync-partial/b.tar",
	} {
		t.Run(name, func(t *testing.T) {
			d := removing(t)
			d.mkdir("bundle")
			d.put(importertest.App(t, "a", "1.0"), "bundle/a.tar")
			d.write(filepath.Join("bundle", name), "half of an archive")
			d.scan(0)
			d.scan(time.Minute)
			d.wantStatus("bundle", "waiting", name)
			if !d.has("bundle/a.tar") || !d.has("bundle/"+name) || d.published > 0 {
				t.Error("a file of the waiting bundle is gone, or the bundle was imported, want neither")
			}
			d.remove("bundle/" + name)
			d.scan(time.Second)
			d.scan(time.Minute)
			if d.has("bundle/a.tar") || d.published != 1 {
				t.Errorf("after the temporary file was removed: bundle/a.tar is still in the drop directory: %v, want false; published %d times, want 1", d.has("bundle/a.tar"), d.published)
			}
		})
	}
}

// If an archive has chunks of its next version beside it, the chunks are a separate bundle. They
// are imported after the archive.
func TestDropArchiveAndChunksOfNextVersion(t *testing.T) {
	for _, remove := range []bool{false, true} {
		for _, late := range []bool{false, true} {
			t.Run(fmt.Sprintf("remove imported bundles %v, chunks arrive late %v", remove, late), func(t *testing.T) {
				d := newDropping(t)
				one, two := importertest.App(t, "platform", "1.0"), importertest.App(t, "platform", "2.0")
				want := importertest.MustContent(t, one).Over(importertest.MustContent(t, two))
				put := func() {
					for _, chunk := range layouttest.Cut(t, two, 5000) {
						d.put(chunk, filepath.Base(chunk))
					}
				}
				d.restart(func(o *drop.Options) {
					o.Remove = remove
					o.Published = func(context.Context) {
						if d.published++; late && d.published == 1 {
							put()
						}
					}
				})
				d.put(one, "platform.tar")
				if !late {
					put()
				}
				for range 4 {
					d.scan(time.Minute)
				}
				importertest.Same(t, "the store", importertest.MustContent(t, d.store), want)
				if d.has("platform.tar") || d.has("platform.tar.0000.chunk") || d.published != 2 {
					t.Errorf("got the files %v, want the archive and the chunks moved or removed; published %d times, want twice", importertest.Files(t, d.dir), d.published)
				}
				if d.has("done/platform.tar") == remove || d.has("done/2/platform.tar.0001.chunk") == remove {
					t.Errorf("left: %v", importertest.Files(t, d.dir))
				}
			})
		}
	}
}

// A directory named a.tar and the chunks of a.tar beside it are imported as two bundles.
func TestDropDirectoryAndChunksWithTheSameName(t *testing.T) {
	d := newDropping(t)
	one, two := importertest.App(t, "one", "1.0"), importertest.App(t, "two", "1.0")
	want := importertest.MustContent(t, one).Over(importertest.MustContent(t, two))
	d.mkdir("a.tar")
	d.put(one, "a.tar/one.tar")
	for i, chunk := range layouttest.Cut(t, two, 5000) {
		d.put(chunk, fmt.Sprintf("a.tar.%04d.chunk", i))
	}
	for range 3 {
		d.scan(time.Minute)
	}
	importertest.Same(t, "the store", importertest.MustContent(t, d.store), want)
	if d.has("a.tar") || d.has("a.tar.0000.chunk") {
		t.Errorf("left: %v", importertest.Files(t, d.dir))
	}
	// The directory and the chunks each have their own problem.
	d.write("b.tar/x.tar.part", "")
	d.write("b.tar.0001.chunk", "")
	d.scan(time.Second)
	d.scan(time.Minute)
	var details []string
	for _, s := range d.drop.Status() {
		if s.Name == "b.tar" {
			details = append(details, s.Kind+": "+s.Detail)
		}
	}
	if len(details) != 2 || !strings.Contains(details[0], "archive: b.tar: chunk 0000 is missing") || !strings.Contains(details[1], "directory: x.tar.part: ") {
		t.Errorf("%q", details)
	}
}

// If the name of a dropped directory is a number, no other bundle is moved into this directory, although done/ has
// numbered directories for bundles whose names are taken.
func TestDropDirectoryWithANumber(t *testing.T) {
	d := newDropping(t)
	d.mkdir("2")
	d.put(importertest.App(t, "a", "1.0"), "2/a.tar")
	d.put(importertest.App(t, "b", "1.0"), "b.tar")
	d.scan(0)
	d.scan(time.Minute)
	d.put(importertest.App(t, "b", "2.0"), "b.tar") // its name is taken in done/
	d.scan(time.Second)
	d.scan(time.Minute)
	d.wantStatus("b.tar", "published", "")
	if !d.has("done/b.tar") || !d.has("done/2/b.tar") || !d.has("done/2/2/a.tar") || d.published != 3 {
		t.Errorf("published %d times, want 3 times; files: %v, want done/2/2/a.tar with no other bundle beside it", d.published, importertest.Files(t, d.dir))
	}
}

// A directory with too many files waits, but other bundles are imported.
func TestDropDirectoryWithTooManyFiles(t *testing.T) {
	d := newDropping(t)
	d.restart(func(o *drop.Options) { o.MaxFiles = 10 })
	for i := range 12 {
		d.write(fmt.Sprintf("huge/%d", i), "")
	}
	d.put(importertest.App(t, "a", "1.0"), "a.tar")
	d.scan(time.Minute)
	d.scan(time.Minute)
	d.wantStatus("huge", "waiting", "more than 10 files")
	d.wantStatus("a.tar", "published", "")
}

// An entry that cannot be imported is reported with the reason. Files such as documents are not reported.
func TestDropReportsOtherEntries(t *testing.T) {
	d := newDropping(t)
	for name, reason := range map[string]string{
		"a.tar.gz": "gunzip a.tar.gz", "b.tar.aa": "cat b.tar.?? > b.tar", ".c.tar.Ab3xYz": "a temporary name of c.tar",
		"d.tar.filepart": "a temporary name of d.tar", "E.TAR": "mv E.TAR E.tar", "f.tar.0001.chunk": "",
		".g.tar.layoutproxy-remove": "it was imported, and", "README.txt": "", ".hidden": "", "sums.sha256": "",
	} {
		d.write(name, "x")
		if reason != "" {
			defer d.wantStatus(name, "waiting", reason)
		}
	}
	layouttest.Try(t, layouttest.MakePipe(filepath.Join(d.dir, "pipe.tar")))
	for name, to := range map[string]string{"gone.tar": "nowhere", "gone": "nowhere", "dir": "real", "out.tar": importertest.App(t, "o", "1.0")} {
		if err := os.Symlink(to, filepath.Join(d.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	d.mkdir("real")
	d.scan(0)
	d.scan(time.Minute)
	d.wantStatus("pipe.tar", "waiting", "a pipe")
	d.wantStatus("gone.tar", "waiting", "a link")
	d.wantStatus("out.tar", "waiting", "a link")
	d.wantStatus("gone", "waiting", "dangling link")
	d.wantStatus("dir", "waiting", "a link to a directory")
	for _, s := range d.drop.Status() {
		if s.Name == "README.txt" || s.Name == ".hidden" || s.Name == "sums.sha256" {
			t.Errorf("reported: %+v", s)
		}
	}
	if d.published > 0 {
		t.Error("an entry that is not a bundle was imported, want nothing imported")
	}
}

// After the import of a tree, all files that the import did not read stay: documents, unreferenced
// blobs, damaged copies and archives without layouts. All files that it read are moved or removed.
func TestDropKeepsUnreadFiles(t *testing.T) {
	for _, remove := range []bool{false, true} {
		t.Run(fmt.Sprint(remove), func(t *testing.T) {
			d := newDropping(t)
			d.restart(func(o *drop.Options) { o.Remove = remove })
			tree := layouttest.New(t, filepath.Join(d.dir, "bundle"))
			var shared string
			for _, name := range []string{"one", "two", "three"} {
				l := tree.Layout("modules/" + name)
				layer := l.Blob(ocispec.MediaTypeImageLayerGzip, bytes.Repeat([]byte("s"), 6000))
				shared = layer.Digest.Encoded()
				l.Tag(l.Image(layouttest.Image{Name: "shared", Layers: [][]byte{bytes.Repeat([]byte("s"), 6000)}}), "v1")
				l.Write()
			}
			want := importertest.MustContent(t, filepath.Join(d.dir, "bundle"))
			wrong := filepath.Join(d.dir, "bundle/modules/two/blobs/sha256", shared)
			if err := os.WriteFile(wrong, bytes.Repeat([]byte("x"), 6000), 0o644); err != nil {
				t.Fatal(err)
			}
			stray := tree.Layout("modules/one").Blob("application/octet-stream", []byte("no manifest lists this blob")).Digest.Encoded()
			d.write("bundle/deckhousereleases.yaml", "kind: DeckhouseRelease")
			d.write("bundle/modules/one/README", "docs")
			layouttest.Tar(t, filepath.Join(d.dir, "bundle/notes.tar"), layouttest.File("notes.txt", []byte("secret")))
			before := importertest.Contents(t, d.dir)
			d.scan(0)
			d.scan(time.Minute)
			importertest.Same(t, "the store", importertest.MustContent(t, d.store), want)
			s := d.wantStatus("bundle", "published", "5 files stay in the drop directory")
			for _, name := range []string{"bundle/deckhousereleases.yaml", "bundle/modules/one/README", "bundle/notes.tar", "bundle/modules/one/blobs/sha256/" + stray, "bundle/modules/two/blobs/sha256/" + shared} {
				if !strings.Contains(s.Detail, name+" was not read") || importertest.Contents(t, d.dir)["/"+name] != before["/"+name] {
					t.Errorf("%s: %s", name, s.Detail)
				}
			}
			after := importertest.Contents(t, filepath.Join(d.dir, "bundle"))
			if len(after) != 5 {
				t.Errorf("left: %v", after)
			}
			// Even after a restart, the bundle is not read again.
			d.restart(func(o *drop.Options) { o.Remove = remove })
			d.importer.Before(func(op, path string) error { return fmt.Errorf("the bundle is read again: %s %s", op, path) })
			d.scan(time.Hour)
			d.wantStatus("bundle", "published", "5 files stay")
		})
	}
}

// If the process is killed at any step of a scan, no file of a dropped directory is lost. Files are
// removed only after their import, and files that were not read stay. The next process completes
// the import. LAYOUTPROXY_TEST_ALL=1 tries every step, not only some.
func TestDropCrashAtEveryStep(t *testing.T) {
	for _, remove := range []bool{false, true} {
		for n, stride := 2, 13; ; n += stride {
			if os.Getenv("LAYOUTPROXY_TEST_ALL") != "" {
				stride = 1
			}
			m := newModel(t, map[bool]uint64{false: 1, true: 2}[remove])
			_, bundle := m.tree(filepath.Join(m.dir, "bundle"))
			for name, data := range importertest.Contents(t, filepath.Join(m.dir, "bundle")) {
				m.put["bundle"+name] = &dropFile{[]byte(data), bundle}
			}
			m.archive("bundle/x.tar", true)
			m.archive("a.tar", false)
			m.write("bundle/notes.txt", []byte("not read"), nil)
			m.history = append(m.history, fmt.Sprintf("killed at step %d", n))
			m.dying = n
			m.scan()
			m.checkAll()
			ended := m.dying > 1 // whether the scan ended before its step n, and so was not killed
			m.dying = 0
			m.restart()
			m.scan()
			m.scan()
			m.checkAll()
			if m.done != 3 || m.put["bundle/notes.txt"] == nil {
				t.Fatalf("after a kill at step %d: %d bundles are published, want 3, and notes.txt still there; status %+v", n, m.done, m.drop.Status())
			}
			if ended {
				if n < 40 {
					t.Errorf("a scan has only about %d steps, want at least 40", n)
				}
				break
			}
		}
	}
}

// An interrupted import leaves directories in staging. The next import does not publish them,
// because they would be layouts without an index.
func TestStagedDirectoriesAreNotPublished(t *testing.T) {
	store := filepath.Join(importertest.Scratch(t), "store")
	i, written := importertest.New(t, store), 0
	ctx, cancel := context.WithCancel(t.Context())
	i.Before(func(op, path string) error {
		if op == "rename" && strings.Contains(path, "/staging/tree/") {
			if written++; written == 2 {
				cancel()
			}
		}
		return nil
	})
	if _, err := i.Import(ctx, importertest.App(t, "one", "1.0")); err == nil {
		t.Fatal("the interrupted import returned no error, want one")
	}
	two := importertest.App(t, "two", "1.0")
	want := importertest.MustContent(t, two)
	importertest.Imported(t, store, two)
	importertest.Same(t, "the store", importertest.MustContent(t, store), want)
	if left, err := os.ReadDir(filepath.Join(store, "app")); err != nil || len(left) != 1 {
		t.Errorf("the directory app of the store has %v, error %v, want one repository", left, err)
	}
}

// While the guard returns an error, no bundle is imported. If it returns an error after an import,
// the bundle's files stay in place.
func TestDropObeysGuard(t *testing.T) {
	d := removing(t)
	calls, allowed := 0, 0
	d.restart(func(o *drop.Options) {
		o.Remove = true
		o.Guard = func() error {
			if calls++; calls > allowed {
				return errors.New("the store is in the drop directory")
			}
			return nil
		}
	})
	d.put(importertest.App(t, "a", "1.0"), "a.tar")
	before := importertest.Contents(t, d.dir)
	again := d.scan(time.Hour)
	d.wantStatus("a.tar", "waiting", "the store is in the drop directory")
	if again == 0 || d.published > 0 {
		t.Errorf("published %d times, want 0; the next scan is due after %s, want a retry", d.published, again)
	}
	allowed = calls + 1 // the guard allows the import, but not the removal that follows
	d.scan(again)
	d.wantStatus("a.tar", "published", "nothing was moved or removed: the store is in the drop directory")
	if after := importertest.Contents(t, d.dir); !maps.Equal(after, before) || d.published != 1 {
		t.Errorf("left: %v", importertest.Files(t, d.dir))
	}
}

// A dropped directory that contains a store is neither imported nor removed, because another
// process may serve the store.
func TestDropKeepsDirectoryWithStore(t *testing.T) {
	d := removing(t)
	importertest.Imported(t, filepath.Join(d.dir, "carried/store"), importertest.App(t, "a", "1.0"))
	before := importertest.Contents(t, d.dir)
	d.scan(0)
	d.scan(time.Hour)
	d.wantStatus("carried", "waiting", "it contains a store (store/.layoutproxy/store.json)")
	if !maps.Equal(importertest.Contents(t, d.dir), before) {
		t.Error("a file of the waiting bundle is gone, or the bundle was imported, want neither")
	}
}

// A symbolic link in a bundle is removed together with its target. A hard link of the target,
// outside of the bundle, stays.
func TestDropRemovesLinks(t *testing.T) {
	d := removing(t)
	d.mkdir("bundle")
	d.put(importertest.App(t, "a", "1.0"), "bundle/a.tar")
	if err := os.Symlink("a.tar", filepath.Join(d.dir, "bundle/latest")); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(filepath.Join(d.dir, "bundle/a.tar"), filepath.Join(d.dir, "mine.bak")); err != nil {
		t.Fatal(err)
	}
	d.scan(0)
	d.scan(time.Hour)
	d.wantStatus("bundle", "published", "")
	if d.has("bundle") || !d.has("mine.bak") {
		t.Errorf("left: %v", importertest.Files(t, d.dir))
	}
}

// A chunk after the end of the archive is not read and stays, because it may belong to a different
// version of the archive. But a chunk with padding is removed with the archive.
func TestDropKeepsChunksAfterTheEnd(t *testing.T) {
	d := removing(t)
	archive := importertest.App(t, "a", "1.0")
	chunks := layouttest.Cut(t, archive, 5000)
	for _, chunk := range chunks {
		d.put(chunk, filepath.Base(chunk))
	}
	padding, stale := fmt.Sprintf("a.tar.%04d.chunk", len(chunks)), fmt.Sprintf("a.tar.%04d.chunk", len(chunks)+1)
	d.write(padding, strings.Repeat("\x00", 512))
	d.write(stale, "bytes of another archive")
	d.scan(0)
	d.scan(time.Minute)
	if d.published != 1 || d.has("a.tar.0000.chunk") || d.has(padding) || !d.has(stale) {
		t.Errorf("published %d times, want once; files left: %v", d.published, importertest.Files(t, d.dir))
	}
	d.scan(time.Minute)
	d.scan(time.Minute)
	d.wantStatus("a.tar", "waiting", "missing")
}
