package layouttest

import (
	"archive/tar"
	"cmp"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Archive describes how to pack layouts from a tree. The zero value packs the complete tree as d8
// mirror pull does: in GNU format, without directories, and without "./" before names.
type Archive struct {
	// Layouts contains the paths of the layouts to pack, without layouts nested in them. nil means
	// the complete tree.
	Layouts []string
	// Format is the format of the headers. The zero value means GNU.
	Format tar.Format
	// DotSlash makes every name begin with "./", as tar -cf FILE . does.
	DotSlash bool
	// Directories adds entries for directories.
	Directories bool
	// Strip is a directory that is removed from the start of every name, as in archives of old bundles.
	Strip string
}

// Archive packs layouts into a tar archive. It renames the archive to file when it is complete.
func (t *Tree) Archive(file string, a Archive) {
	t.tb.Helper()
	Try(t.tb, os.MkdirAll(filepath.Dir(file), 0o755))
	Try(t.tb, replace(file, func(f *os.File) error {
		p := packer{tree: t, Archive: a, w: tar.NewWriter(f)}
		if err := p.pack(); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		return p.w.Close()
	}))
}

// Bundle packs the tree into one archive per product in dir, as d8 mirror pull does. Layouts
// without an archive of their own go into platform.tar.
func (t *Tree) Bundle(dir string) {
	t.tb.Helper()
	archives := map[string][]string{}
	for _, layout := range t.layoutsOnDisk() {
		for _, name := range archivesOf(layout) {
			archives[name] = append(archives[name], layout)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(archives)) {
		t.Archive(filepath.Join(dir, name), Archive{Layouts: archives[name]})
	}
}

// archivesOf returns the names of the archives that contain the layout at a path.
func archivesOf(layout string) []string {
	s := strings.Split(layout, "/")
	switch {
	case layout == "installer":
		return []string{"installer.tar"}
	case s[0] == "security" && len(s) > 1:
		return []string{"security.tar"}
	case s[0] == "modules" && len(s) > 1:
		return []string{"module-" + s[1] + ".tar"}
	case s[0] == "packages" && len(s) == 3 && s[2] == "version":
		return []string{"package-" + s[1] + ".tar", "package-versions.tar"}
	case s[0] == "packages" && len(s) > 1:
		return []string{"package-" + s[1] + ".tar"}
	case layout == "deckhouse-cli":
		return []string{"deckhouse-cli.tar"}
	case len(s) == 3 && s[0] == "deckhouse-cli" && s[1] == "plugins":
		return []string{"plugin-" + s[2] + ".tar"}
	}
	return []string{"platform.tar"}
}

// layoutsOnDisk returns the paths of all layouts with an index.json.
func (t *Tree) layoutsOnDisk() (layouts []string) {
	t.tb.Helper()
	err := fs.WalkDir(os.DirFS(t.dir), ".", func(name string, _ fs.DirEntry, err error) error {
		if path.Base(name) == ocispec.ImageIndexFile {
			layouts = append(layouts, path.Dir(name))
		}
		return err
	})
	Try(t.tb, err)
	return layouts
}

type packer struct {
	Archive
	tree *Tree
	w    *tar.Writer
}

// pack packs the files in the order of filepath.Walk, as d8 does. In that order, the blobs of a
// layout come before its index.json.
func (p *packer) pack() error {
	missing := map[string]bool{}
	for _, l := range p.Layouts {
		missing[l] = true
	}
	err := filepath.WalkDir(p.tree.dir, func(file string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(p.tree.dir, file)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		switch {
		case !p.isWanted(rel, e.IsDir()):
			return nil
		case e.IsDir():
			return p.directory(rel)
		}
		delete(missing, layoutOf(rel))
		return p.file(rel, file)
	})
	if err == nil && len(missing) > 0 {
		return fmt.Errorf("these layouts do not exist: %v", slices.Sorted(maps.Keys(missing)))
	}
	return err
}

// layoutOf returns the path of the layout to which a file belongs.
func layoutOf(file string) string {
	switch path.Base(file) {
	case ocispec.ImageIndexFile, ocispec.ImageLayoutFile:
		return path.Dir(file)
	}
	dir, _ := path.Split(path.Dir(file))
	if path.Base(dir) == ocispec.ImageBlobsDir {
		return path.Dir(path.Clean(dir))
	}
	return path.Dir(file)
}

// isWanted reports whether to pack a file or directory. A file must belong to a wanted layout. A
// directory must lead to a wanted layout or contain its blobs.
func (p *packer) isWanted(rel string, dir bool) bool {
	if p.Layouts == nil {
		return true
	}
	if !dir {
		return slices.Contains(p.Layouts, layoutOf(rel))
	}
	return slices.ContainsFunc(p.Layouts, func(l string) bool {
		blobs := path.Join(l, ocispec.ImageBlobsDir)
		return rel == "." || rel == l || strings.HasPrefix(l, rel+"/") || rel == blobs || path.Dir(rel) == blobs
	})
}

// entryName returns the name of the entry for rel. The name is empty if rel is the directory Strip
// or a parent of it.
func (p *packer) entryName(rel string) (string, error) {
	name := rel
	if p.Strip != "" {
		if strings.HasPrefix(p.Strip+"/", rel+"/") {
			return "", nil
		}
		stripped, ok := strings.CutPrefix(rel, p.Strip+"/")
		if !ok && rel != "." {
			return "", fmt.Errorf("%s is not below %s", rel, p.Strip)
		}
		name = stripped
	}
	if p.DotSlash {
		return "./" + name, nil
	}
	return name, nil
}

func (p *packer) directory(rel string) error {
	if !p.Directories {
		return nil
	}
	name := "./"
	if rel != "." {
		stripped, err := p.entryName(rel)
		if err != nil || stripped == "" {
			return err
		}
		name = stripped + "/"
	} else if !p.DotSlash {
		return nil
	}
	return p.header(&tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755})
}

func (p *packer) file(rel, file string) error {
	name, err := p.entryName(rel)
	if err != nil {
		return err
	}
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := p.header(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: info.Size(), Mode: 0o777}); err != nil {
		return err
	}
	_, err = io.Copy(p.w, f)
	return err
}

func (p *packer) header(h *tar.Header) error {
	h.Format = cmp.Or(p.Format, tar.FormatGNU)
	h.ModTime = time.Unix(0, 0)
	if err := p.w.WriteHeader(h); err != nil {
		return fmt.Errorf("entry %s: %w", h.Name, err)
	}
	return nil
}
