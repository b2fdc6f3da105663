package importertest

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/importer"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// ErrDead is returned by every step that follows after [EndsAt] has ended a process.
var ErrDead = errors.New("dead")

// One writes an archive with one image. It returns the archive's path, and where each entry is in it.
func One(t *testing.T) (archive string, places []layouttest.Place) {
	t.Helper()
	tree := layouttest.New(t, t.TempDir())
	l := tree.Layout("modules/one")
	l.Tag(l.Image(layouttest.Image{Name: "one", LayerSizes: []int64{9000}}), "v1")
	l.Write()
	archive = filepath.Join(t.TempDir(), "module-one.tar")
	tree.Archive(archive, layouttest.Archive{})
	return archive, layouttest.Places(t, archive)
}

// Largest returns the place of the largest entry.
func Largest(places []layouttest.Place) (p layouttest.Place) {
	for _, q := range places {
		if q.End-q.Body > p.End-p.Body {
			p = q
		}
	}
	return p
}

// Flip damages a file: it changes one bit at an offset.
func Flip(t *testing.T, file string, at int64) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	Must(t, err)
	defer f.Close()
	var b [1]byte
	_, err = f.ReadAt(b[:], at)
	Must(t, err)
	b[0] ^= 1
	_, err = f.WriteAt(b[:], at)
	Must(t, err)
}

// Packing returns an importer that keeps archives packed, instead of storing loose files.
func Packing(t *testing.T, store string) *Importer {
	t.Helper()
	i, err := NewWith(importer.Options{Store: store, KeepPacked: true, Jobs: 1})
	Must(t, err)
	return i
}

// Kept imports bundles into a store, and keeps their archives packed.
func Kept(t *testing.T, store string, bundles ...string) importer.Report {
	t.Helper()
	return imported(t, Packing(t, store), bundles)
}

// Image writes an archive into a new directory beside the store, and returns its path. The archive has one
// image, in modules/console with the tag stable.
func Image(t *testing.T, store, file, name string) string {
	t.Helper()
	tree := layouttest.New(t, t.TempDir())
	l := tree.Layout("modules/console")
	l.Tag(l.Image(layouttest.Image{Name: name, LayerSizes: []int64{5000}}), "stable")
	l.Write()
	dir, err := os.MkdirTemp(filepath.Dir(store), "in")
	Must(t, err)
	archive := filepath.Join(dir, file)
	tree.Archive(archive, layouttest.Archive{})
	return archive
}

// ArchiveOf writes an archive with images, and returns its path. Each image is given as PATH:TAG=NAME. Images
// with the same PATH and NAME are one image with several tags.
func ArchiveOf(t *testing.T, file string, images ...string) string {
	t.Helper()
	tree := layouttest.New(t, t.TempDir())
	layouts := map[string]*layouttest.Layout{}
	for _, text := range images {
		place, name, _ := strings.Cut(text, "=")
		at, tag, _ := strings.Cut(place, ":")
		if layouts[at] == nil {
			layouts[at] = tree.Layout(at)
		}
		layouts[at].Tag(layouts[at].Image(layouttest.Image{Name: name, LayerSizes: []int64{700}}), tag)
	}
	for _, l := range layouts {
		l.Write()
	}
	tree.Archive(file, layouttest.Archive{})
	return file
}

// TagsOf is like [ContentOfSnapshot], but does not verify content, because files may have moved since the
// scan.
func TagsOf(s *layoutstore.Snapshot) Content {
	all := Content{}
	for _, at := range s.Paths() {
		all[at] = ""
		repo, err := s.At(at)
		if err != nil {
			continue
		}
		tags, _ := repo.Tags("", -1)
		for _, tag := range tags {
			if d, err := repo.TagDigest(tag); err == nil {
				all[at+":"+tag] = string(d)
			}
		}
	}
	return all
}

// App writes an archive with one image in the repository app/NAME with one tag, and returns its path.
func App(t *testing.T, name, tag string) string {
	t.Helper()
	archive := filepath.Join(t.TempDir(), name+".tar")
	AppTree(t, name, tag).Archive(archive, layouttest.Archive{})
	return archive
}

// AppTree writes the same image as [App], as a tree.
func AppTree(t *testing.T, name, tag string) *layouttest.Tree {
	t.Helper()
	tree := layouttest.New(t, t.TempDir())
	l := tree.Layout("app/" + name)
	l.Tag(l.Image(layouttest.Image{Name: name + tag, LayerSizes: []int64{6000}}), tag)
	l.Write()
	return tree
}

// Contents returns the content of all regular files below a directory, by path.
func Contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for name := range Files(t, dir) {
		info, err := os.Lstat(filepath.Join(dir, name))
		Must(t, err)
		if info.Mode().IsRegular() {
			data, err := os.ReadFile(filepath.Join(dir, name))
			Must(t, err)
			all[name] = string(data)
		}
	}
	return all
}

// EndsAt runs do in a goroutine, and ends the goroutine at a step, as if a process was killed. do
// has to call its argument at each step. The goroutine ends at the nth step for which counts
// returns true, and all later steps fail. EndsAt returns false if there are fewer such steps.
func EndsAt(n int, counts func(op, path string) bool, do func(before func(op, path string) error)) bool {
	dead, ended := false, make(chan bool)
	go func() {
		finished := false
		defer func() { ended <- !finished }()
		do(func(op, path string) error {
			if dead {
				return ErrDead
			}
			if counts(op, path) {
				if n--; n == 0 {
					dead = true
					runtime.Goexit()
				}
			}
			return nil
		})
		finished = true
	}()
	return <-ended
}

// Leaves reports whether a step belongs to moving files of an imported bundle out of its directory.
func Leaves(op, path string) bool {
	return strings.HasSuffix(op, " dropped") || strings.HasPrefix(path, ".layoutproxy/dropped.json") || op == "remove packed" || op == "chmod" || strings.Contains(path, "/outgoing")
}

// Must fails the test on an error.
func Must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// LargestFile returns the path of a store's largest file whose path contains the text in part.
func LargestFile(t *testing.T, store, part string) (name string) {
	t.Helper()
	var most int64
	for file, size := range Files(t, store) {
		if strings.Contains(file, part) && size > most {
			name, most = store+file, size
		}
	}
	return name
}

// Proven fails if the content of a blob's file does not have the digest in the file's name.
func Proven(t *testing.T, file string) {
	t.Helper()
	data, err := os.ReadFile(file)
	Must(t, err)
	if got := digest.FromBytes(data); got.Encoded() != filepath.Base(file) {
		t.Errorf("%s: checksum mismatch: content is %s", file, got)
	}
}

// Pulling leaves a directory in the state of a pull that was killed between two renames. The new a.tar is
// in place. The new b.tar is staged, and the old b.tar is still in place.
func Pulling(t *testing.T, dir string) {
	t.Helper()
	staged := filepath.Join(dir, volume.StagedDir(1))
	ArchiveOf(t, filepath.Join(dir, "a.tar"), "a:stable=two")
	ArchiveOf(t, filepath.Join(dir, "b.tar"), "b:stable=one")
	ArchiveOf(t, filepath.Join(staged, "b.tar"), "b:stable=two", "b:v2=two")
	p := volume.Publication{Staged: filepath.Base(staged)}
	for name, at := range map[string]string{"a.tar": dir, "b.tar": staged} {
		info, err := os.Stat(filepath.Join(at, name))
		Must(t, err)
		p.Place = append(p.Place, volume.PublishedFileOf(name, info))
	}
	data, err := p.Encode()
	Must(t, err)
	Must(t, os.WriteFile(filepath.Join(dir, volume.PublicationFile), data, 0o644))
}

// FinishPull completes the pull that [Pulling] has left unfinished.
func FinishPull(t *testing.T, dir string) {
	t.Helper()
	staged := filepath.Join(dir, volume.StagedDir(1))
	Must(t, os.Rename(filepath.Join(staged, "b.tar"), filepath.Join(dir, "b.tar")))
	Must(t, os.Remove(filepath.Join(dir, volume.PublicationFile)))
	Must(t, os.RemoveAll(staged))
}

// Chunks writes an archive into a directory, as chunks with checksum files. The mode of the chunks differs
// from the mode of a store's files.
func Chunks(t *testing.T, dir string) {
	t.Helper()
	archive := App(t, "a", "1.0")
	for _, chunk := range layouttest.Split(t, archive, 3000) {
		data, err := os.ReadFile(chunk)
		Must(t, err)
		Must(t, os.WriteFile(filepath.Join(dir, filepath.Base(chunk)), data, 0o664))
		Must(t, os.Chmod(filepath.Join(dir, filepath.Base(chunk)), 0o664)) // the umask may have changed the mode
		Must(t, os.WriteFile(filepath.Join(dir, filepath.Base(chunk)+".gostsum"), []byte(strings.Repeat("0", 64)), 0o644))
	}
}

// Meddle replaces one file of a bundle, as somebody may during an import, and returns its name. The keys of
// before are the files before the import. Meddle replaces the first one that still exists and is no README.
func Meddle(t *testing.T, dir string, before map[string]string) (name string) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(before)) {
		file := filepath.Join(dir, name)
		if _, err := os.Lstat(file); err != nil || strings.HasSuffix(name, "README") {
			continue
		}
		Must(t, os.WriteFile(file+".new", []byte("came later"), 0o644))
		Must(t, os.Rename(file+".new", file))
		return name
	}
	return ""
}

// Catalog writes an archive with one version of a package, and returns its path. The channel stable leads to
// this version.
func Catalog(t *testing.T, dir, name, version string) string {
	t.Helper()
	tree := layouttest.New(t, t.TempDir())
	l := tree.Layout("packages/echo/version")
	image := l.Image(layouttest.Image{Name: version})
	l.Tag(image, "stable")
	l.Tag(image, version)
	l.Write()
	file := filepath.Join(dir, name)
	tree.Archive(file, layouttest.Archive{})
	return file
}
