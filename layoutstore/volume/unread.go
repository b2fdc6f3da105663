package volume

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"strings"

	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
)

// unread is why a file of a class is not read, as a problem. What is being uploaded may
// be complete later.
func unread(name string, class NameClass, err error) problem.Problem {
	kind := problem.Limited
	if class.Kind == NameUpload {
		kind = problem.Incomplete
	}
	return problem.Problem{Kind: kind, Path: name, Reason: err.Error(), Err: err}
}

// why says what keeps a file of a class from being read where archives are looked
// for, or is nil. mode is that of the file itself, or of the link if it is one.
func (c NameClass) why(mode fs.FileMode) error {
	readable := c.Kind == NameArchive || c.Kind == NameChunk
	switch {
	case !readable && !c.Unread:
		return nil
	case mode&fs.ModeSymlink != 0:
		return errors.New("a link: links to archives are not read: name its target as a source, or put the file itself here")
	case !mode.IsRegular():
		return fmt.Errorf("%s, where a file is expected: remove it, and put the file itself here", kindOfFile(mode))
	case c.Unread:
		return fmt.Errorf("not read: %s: %s", c.Reason, c.Advice)
	}
	return nil
}

func kindOfFile(mode fs.FileMode) string {
	switch {
	case mode&fs.ModeNamedPipe != 0:
		return "a pipe"
	case mode&fs.ModeSocket != 0:
		return "a socket"
	case mode&fs.ModeDevice != 0:
		return "a device"
	}
	return "not a regular file"
}

// passOver says whether the file called name is not read as an archive, or a part of
// one, and reports it if it looks like one. A directory is content of the tree, and a
// link to one as well, whatever it is called.
func (f *finder) passOver(name string) bool {
	class := ClassifyName(name)
	if strings.HasPrefix(name, ".") || class.Kind == NameOther || class.Kind == NameUpload && !class.Unread {
		return true
	}
	at := filepath.FromSlash(f.view.at(name))
	info, err := f.root.Lstat(at)
	if errors.Is(err, fs.ErrNotExist) {
		return true // it went while we looked
	}
	if err != nil {
		return false // look reports it
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		if to, err := f.root.Stat(at); err == nil && to.IsDir() {
			return true
		}
	}
	if info.IsDir() {
		return true
	}
	why := class.why(info.Mode())
	if why == nil {
		return false
	}
	f.unread.add(".", name, class, why)
	return true
}

// unreadFiles are the files of one directory that look like archives and are not
// read. The parts of one archive are one problem where the same is to be done with them.
type unreadFiles struct {
	problems []problem.Problem
	more     map[unreadKey]int // where in problems
	count    map[int]int       // how many files a problem stands for
}

type unreadKey struct{ dir, archive, reason string }

// add adds a file of a directory.
func (u *unreadFiles) add(dir, name string, class NameClass, why error) {
	key := unreadKey{dir, cmp.Or(class.Archive, name), why.Error()}
	if u.more == nil {
		u.more, u.count = map[unreadKey]int{}, map[int]int{}
	}
	if i, ok := u.more[key]; ok {
		u.count[i]++
		return
	}
	if len(u.problems) > maxProblems {
		return
	}
	u.more[key] = len(u.problems)
	u.problems = append(u.problems, unread(path.Join(dir, name), class, why))
	if len(u.problems) > maxProblems {
		u.problems[maxProblems].Reason = fmt.Sprintf("more than %d files look like archives and are not read: the rest is not listed", maxProblems)
	}
}

// list returns the problems, each with the number of files that it stands for. It is
// called once.
func (u *unreadFiles) list() []problem.Problem {
	for i, n := range u.count {
		files := "files"
		if n == 1 {
			files = "file"
		}
		u.problems[i].Reason += fmt.Sprintf(" (and %d more %s like it)", n, files)
	}
	return u.problems
}
