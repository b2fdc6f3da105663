package volume

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
)

// PublicationFile is the name of a journal in a bundle directory. It exists while several files
// change together. While it exists, readers see the new state. They read each new file where it is
// staged, or where it has been moved to. Before it exists, they see the old state. So readers never
// see only a part of the change, whenever the writer is killed.
const PublicationFile = ".layoutproxy-publication"

// Publication is the content of a PublicationFile. It lists the files in a directory that change together.
type Publication struct {
	Format int `json:"format"`
	// Staged is the directory with the new files, beside the journal. Each file has the same path in Staged
	// as in the bundle directory. If a file is missing in Staged, it has been moved into place.
	Staged string          `json:"staged"`
	Place  []PublishedFile `json:"place"`
	// Remove contains old files that the publication removes, because no new file overwrites them.
	Remove []string `json:"remove,omitempty"`
}

// PublishedFile is a new file in a bundle directory.
type PublishedFile struct {
	// Name is a path in the directory, with slashes.
	Name string `json:"name"`
	// Size is in bytes.
	Size int64 `json:"size"`
	// Modified is the modification time, which a rename does not change. It distinguishes the new
	// file from an older file with the same name and size.
	Modified time.Time `json:"modified"`
}

// PublishedFileOf describes a staged file under its final name.
func PublishedFileOf(name string, staged fs.FileInfo) PublishedFile {
	return PublishedFile{name, staged.Size(), staged.ModTime().UTC()}
}

// matches reports whether a file at its final path is the new file. Some file systems store coarse
// times: in steps of two seconds on FAT, and of ten milliseconds on exFAT.
func (f PublishedFile) matches(info fs.FileInfo) bool {
	got := info.ModTime()
	coarse := got.Nanosecond()%int(10*time.Millisecond) == 0 && got.Sub(f.Modified).Abs() <= 2*time.Second
	return info.Size() == f.Size && (got.Equal(f.Modified) || coarse)
}

const publicationFormat = 1

// maxPublication is the maximum size in bytes of a journal. Even a chunk set with MaxChunks chunks
// needs less.
const maxPublication = 512 << 20

// UnfinishedError means that a publication was interrupted, and that its journal is malformed or
// files of the new state are missing. So readers see neither the old nor the new state.
type UnfinishedError struct {
	Dir    string
	Reason string
	Later  bool // whether a later version of layoutproxy has written the journal
}

func (e *UnfinishedError) Error() string {
	text := fmt.Sprintf("a pull into this directory was interrupted while it replaced files (%s): run the same pull again", e.Reason)
	if e.Later {
		text += " with the version of layoutproxy that began it"
	}
	return text
}

// ErrLaterFormat means that a later version of layoutproxy has written a journal. Only such a version
// can complete its publication.
var ErrLaterFormat = fmt.Errorf("this version of layoutproxy reads format %d", publicationFormat)

// StagedDir returns the name of the nth directory for staged files.
func StagedDir(n int) string { return PublicationFile + "." + strconv.Itoa(n) }

// IsStagedDir reports whether StagedDir can return the name.
func IsStagedDir(name string) bool {
	number, ok := strings.CutPrefix(name, PublicationFile+".")
	n, err := strconv.Atoi(number)
	return ok && err == nil && n >= 0 && StagedDir(n) == name
}

// Encode returns the publication in the format that [ReadPublication] reads. It fails if
// ReadPublication would refuse the result.
func (p Publication) Encode() ([]byte, error) {
	p.Format = publicationFormat
	data, err := json.Marshal(p)
	if err == nil && len(data) > maxPublication {
		err = fmt.Errorf("it has %d bytes, more than the limit of %d", len(data), maxPublication)
	}
	if err == nil {
		err = p.check()
	}
	if err != nil {
		return nil, fmt.Errorf("the publication of %d files: %w", len(p.Place), err)
	}
	return data, nil
}

func (p *Publication) check() error {
	switch {
	case p.Format > publicationFormat:
		return fmt.Errorf("format %d is unknown: %w", p.Format, ErrLaterFormat)
	case p.Format < publicationFormat:
		return fmt.Errorf("format %d is unknown", p.Format)
	}
	if !IsStagedDir(p.Staged) {
		return fmt.Errorf("not a directory of staged files: %.300q", p.Staged)
	}
	names := slices.Clone(p.Remove)
	for _, f := range p.Place {
		names = append(names, f.Name)
	}
	for _, name := range names {
		if !filepath.IsLocal(filepath.FromSlash(name)) || path.Clean(name) != name || strings.HasPrefix(name, ".") {
			return fmt.Errorf("not a file of a bundle: %.300q", name)
		}
	}
	return nil
}

// ReadPublication reads the publication in the directory at dir. It returns nil if there is none.
// It fails if the file is malformed. Other errors are ErrLaterFormat and those of the file system.
func ReadPublication(dir string) (*Publication, error) {
	root, err := plainfile.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	p, _, err := readPublication(root)
	return p, err
}

// CheckPublication fails with *UnfinishedError if the publication in the directory at dir cannot be finished.
func CheckPublication(dir string) error {
	files, err := OpenFiles(dir)
	if err != nil {
		return err
	}
	return files.Close()
}

// readPublication returns the publication and the stamp of its journal. Without a journal, the
// stamp is empty.
func readPublication(root *os.Root) (*Publication, string, error) {
	f, err := plainfile.OpenIn(root, PublicationFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, "", err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxPublication+1))
	var p Publication
	if err == nil && len(data) > maxPublication {
		err = fmt.Errorf("more than %d bytes", maxPublication)
	}
	if err == nil {
		err = json.Unmarshal(data, &p)
	}
	if err == nil {
		err = p.check()
	}
	if err != nil {
		return nil, stampOf(info), fmt.Errorf("%s: %w", PublicationFile, err)
	}
	return &p, stampOf(info), nil
}

// view describes which files of a directory a reader sees, and where they are. It is nil for a
// directory without a publication.
type view struct {
	staged  map[string]string // where each new file is now, by its path in the directory
	removed map[string]bool
}

// viewOf decides which files a reader sees in a directory. It fails with *UnfinishedError if new
// files are missing or the journal is malformed. Other errors come from the file system.
func viewOf(root *os.Root) (*view, error) {
	p, _, err := readPublication(root)
	if p == nil || err != nil {
		if err != nil && !IsExhausted(err) && !IsTransient(err) {
			err = &UnfinishedError{filepath.Clean(root.Name()), err.Error(), errors.Is(err, ErrLaterFormat)}
		}
		return nil, err
	}
	v := &view{staged: map[string]string{}, removed: map[string]bool{}}
	for _, f := range p.Place {
		at, err := p.find(root, f)
		if err != nil {
			return nil, err
		}
		v.staged[f.Name] = at
	}
	for _, name := range p.Remove {
		v.removed[name] = v.staged[name] == ""
	}
	return v, nil
}

func (p *Publication) find(root *os.Root, f PublishedFile) (string, error) {
	staged := path.Join(p.Staged, f.Name)
	for _, at := range []string{staged, f.Name} { // in this order, because the file may be moved between the checks
		info, err := root.Stat(filepath.FromSlash(at))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return "", err
		case info.Mode().IsRegular() && (f.matches(info) || at == staged && info.Size() == f.Size):
			return at, nil
		}
	}
	return "", &UnfinishedError{Dir: filepath.Clean(root.Name()), Reason: f.Name + ": the new file is missing"}
}

// at returns the path at which the named file is now.
func (v *view) at(name string) string {
	if v == nil || v.staged[name] == "" {
		return name
	}
	return v.staged[name]
}

func (v *view) hides(name string) bool { return v != nil && v.removed[name] }

// names returns the names of all files that a reader sees directly in the directory.
func (v *view) names(entries []fs.DirEntry) []string {
	var all []string
	for _, e := range entries {
		if !v.hides(e.Name()) {
			all = append(all, e.Name())
		}
	}
	if v == nil {
		return all
	}
	for name := range v.staged {
		if !strings.Contains(name, "/") {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Files contains the files directly in a directory, as a reader sees them.
type Files struct {
	root  *os.Root
	names []string
	view  *view
}

// OpenFiles lists the directory at dir. It fails with *UnfinishedError if a publication cannot be
// finished. Other errors come from the file system.
func OpenFiles(dir string) (*Files, error) {
	root, err := plainfile.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	v, err := viewOf(root)
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return &Files{root, v.names(entries), v}, nil
}

// Close closes the directory.
func (f *Files) Close() error { return f.root.Close() }

// Names returns the sorted names of the files and subdirectories.
func (f *Files) Names() []string { return f.names }

// At returns where a file is, relative to the directory. ok is false if the publication removes the
// file.
func (f *Files) At(name string) (at string, ok bool) {
	return filepath.FromSlash(f.view.at(filepath.ToSlash(name))), !f.view.hides(filepath.ToSlash(name))
}

// Stat returns the attributes of a file. Errors come from the file system.
func (f *Files) Stat(name string) (fs.FileInfo, error) {
	at, ok := f.At(name)
	if !ok {
		return nil, &fs.PathError{Op: "stat", Path: name, Err: fs.ErrNotExist}
	}
	info, err := f.root.Stat(at)
	if errors.Is(err, fs.ErrNotExist) { // the file may just have been moved
		return f.root.Stat(name)
	}
	return info, err
}

// Mark identifies the state of a directory. If [Mark.Same] and [Mark.Quiet] are true for the marks before and
// after a scan, no publication began or ended during the scan.
type Mark struct {
	// publication is the stamp of the journal.
	publication string
	// changed is the time at which a name in the directory last changed.
	changed time.Time
	dir     fs.FileInfo
}

// MarkOf returns the current mark of the directory at dir. The directory may be missing.
func MarkOf(dir string) Mark {
	root, err := plainfile.OpenRoot(dir)
	if err != nil {
		return Mark{}
	}
	defer root.Close()
	var m Mark
	if m.dir, err = root.Stat("."); err == nil {
		m.changed = m.dir.ModTime()
	}
	_, m.publication, _ = readPublication(root)
	return m
}

// Same reports whether two marks have the same publication, or both have none.
func (m Mark) Same(other Mark) bool { return m.publication == other.publication }

// Quiet reports whether no file directly in the directory was added, renamed or removed between two
// marks. If so, no publication began or ended between them.
func (m Mark) Quiet(other Mark) bool {
	if m.dir == nil || other.dir == nil {
		return m.dir == other.dir
	}
	return os.SameFile(m.dir, other.dir) && m.changed.Equal(other.changed)
}
