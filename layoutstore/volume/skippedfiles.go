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

// skippedProblem returns the problem of a file that is skipped. An unfinished upload counts as
// incomplete, because it may still be completed.
func skippedProblem(name string, class NameClass, err error) problem.Problem {
	kind := problem.Limited
	if class.Kind == NameUpload {
		kind = problem.Incomplete
	}
	return problem.Problem{Kind: kind, Path: name, Reason: err.Error(), Err: err}
}

// skipReason returns why a file that looks like an archive is skipped, or nil if it is read. For a
// link, mode is the mode of the link itself.
func (c NameClass) skipReason(mode fs.FileMode) error {
	switch {
	case !c.looksLikeArchive():
		return nil
	case mode&fs.ModeSymlink != 0:
		return errors.New("a link: links to archives are not read: give the target of the link as a source, or put the file itself here")
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

// skipFile reports whether to skip a file because it is neither an archive nor a chunk that can be
// read. If the file looks like an archive or a chunk, skipFile adds a problem. It adds none for a
// directory or a link to one, which belongs to the tree, whatever its name is.
func (f *finder) skipFile(name string) bool {
	class := ClassifyName(name)
	if strings.HasPrefix(name, ".") || class.Kind == NameOther || class.Kind == NameUpload && !class.Unread {
		return true
	}
	at := filepath.FromSlash(f.view.at(name))
	info, err := f.root.Lstat(at)
	if errors.Is(err, fs.ErrNotExist) {
		return true // the file was removed during the scan
	}
	if err != nil {
		return false // addFile reports the error
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		if to, err := f.root.Stat(at); err == nil && to.IsDir() {
			return true
		}
	}
	if info.IsDir() {
		return true
	}
	why := class.skipReason(info.Mode())
	if why == nil {
		return false
	}
	f.skipped.add(".", name, class, why)
	return true
}

// skippedFiles collects the problems of skipped files that look like archives. All parts of an
// archive share one problem if the reason is the same.
type skippedFiles struct {
	problems []problem.Problem
	// For files that share a problem, more contains the index of that problem in problems.
	more map[skippedKey]int
	// count contains the number of further files that share a problem, by index in problems.
	count map[int]int
}

type skippedKey struct{ dir, archive, reason string }

func (u *skippedFiles) add(dir, name string, class NameClass, why error) {
	key := skippedKey{dir, cmp.Or(class.Archive, name), why.Error()}
	if u.more == nil {
		u.more, u.count = map[skippedKey]int{}, map[int]int{}
	}
	if i, ok := u.more[key]; ok {
		u.count[i]++
		return
	}
	if len(u.problems) > maxProblems {
		return
	}
	u.more[key] = len(u.problems)
	u.problems = append(u.problems, skippedProblem(path.Join(dir, name), class, why))
	if len(u.problems) > maxProblems {
		u.problems[maxProblems].Reason = fmt.Sprintf("more than %d files look like archives and are not read: the rest is not listed", maxProblems)
	}
}

// list returns the problems. Each says how many further files share it. Call list only once.
func (u *skippedFiles) list() []problem.Problem {
	for i, n := range u.count {
		files := "files"
		if n == 1 {
			files = "file"
		}
		u.problems[i].Reason += fmt.Sprintf(" (and %d more %s like it)", n, files)
	}
	return u.problems
}
