package overlap

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
	"github.com/layoutproxy/layoutproxy/layoutstore/fileid"
	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
)

// maxLinks limits how many links are followed for one path.
const maxLinks = 40

// resolvePlace finds the real location of a place. If its path does not exist, this is the location
// where it would be created. All other errors of the file system are returned.
func resolvePlace(r Role, name string, mounts []mount) (Place, error) {
	p := Place{Role: r, Path: name}
	if bucket.IsPlace(name) {
		p.resolved = strings.TrimRight(name, "/")
		return p, nil
	}
	abs, err := filepath.Abs(name)
	if err != nil {
		return p, err
	}
	if p.resolved, err = resolve(abs, maxLinks); err != nil {
		return p, fmt.Errorf("%s %s: %w", r, name, err)
	}
	for at := p.resolved; ; at = filepath.Dir(at) {
		info, err := os.Stat(at)
		switch {
		case err == nil:
			p.ids = append(p.ids, inodeOf(info))
		case missing(err):
			p.ids = append(p.ids, inode{})
		default:
			return p, fmt.Errorf("%s %s: %w", r, name, err)
		}
		if at == filepath.Dir(at) {
			break
		}
	}
	p.spots = spotsOf(p.resolved, mounts)
	return p, nil
}

func missing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

// inodeOf returns the device and inode numbers of a file, or zeros on systems without them.
func inodeOf(info fs.FileInfo) inode {
	state, _ := fileid.Of(info)
	return inode{state.Device, state.Inode}
}

// resolve follows the links of an absolute path. Unlike [filepath.EvalSymlinks], it also resolves
// paths that do not exist.
func resolve(name string, links int) (string, error) {
	real, err := filepath.EvalSymlinks(name)
	if err == nil || !missing(err) || name == filepath.Dir(name) {
		return real, err
	}
	parent, err := resolve(filepath.Dir(name), links)
	if err != nil {
		return "", err
	}
	name = filepath.Join(parent, filepath.Base(name))
	to, err := os.Readlink(name)
	if err != nil {
		return name, nil // Nothing exists under this name.
	}
	if links == 0 {
		return "", fmt.Errorf("%s: too many symbolic links", name)
	}
	if !filepath.IsAbs(to) {
		to = filepath.Join(parent, to)
	}
	return resolve(filepath.Clean(to), links-1)
}

// mount is a line of the mount table: the mount of a file system, or of a directory in one.
type mount struct {
	device string // Device of the file system.
	root   string // Directory of the file system that is mounted.
	point  string // Where the directory is mounted.
}

// parseMounts reads the content of /proc/self/mountinfo (proc_pid_mountinfo(5)). Blanks separate
// the fields. The third is the device, the fourth the root, the fifth the mount point. Blanks and
// backslashes in a field are written in octal, such as \040. A later mount hides an earlier one.
func parseMounts(text string) (all []mount) {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) >= 5 {
			all = append(all, mount{fields[2], unescape(fields[3]), unescape(fields[4])})
		}
	}
	return all
}

// unescape replaces the octal escapes in a field of the mount table.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// spotsOf returns the spots of a resolved path, and of each mount below it.
func spotsOf(name string, mounts []mount) (all []spot) {
	var own *mount
	for i, m := range mounts {
		if (name == m.point || isBelow(name, m.point)) && (own == nil || len(m.point) >= len(own.point)) {
			own = &mounts[i]
		}
	}
	if own == nil {
		return nil
	}
	all = append(all, spot{own.device, filepath.Join(own.root, strings.TrimPrefix(name, own.point))})
	for _, m := range mounts {
		if isBelow(m.point, name) {
			all = append(all, spot{m.device, m.root})
		}
	}
	return all
}

// resolvePlaces resolves places. It omits places that it cannot resolve, and joins their errors in
// unknown.
func resolvePlaces(named []Place) (all []Place, unknown error) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil && !missing(err) { // Only Linux has this file.
		unknown = err
	}
	mounts := parseMounts(string(text))
	for _, n := range named {
		p, err := resolvePlace(n.Role, n.Path, mounts)
		if err != nil {
			unknown = errors.Join(unknown, err)
			continue
		}
		all = append(all, p)
	}
	return all, unknown
}

// Check returns an [exit.UsageError] if two of the places overlap but must not. It ignores places
// that cannot be resolved: the code that opens them will report the error.
func Check(named ...Place) error {
	all, _ := resolvePlaces(named)
	if e := findOverlap(all); e != nil {
		return exit.UsageError(exit.WithHint(e, overlapHint(e)))
	}
	return nil
}

// CheckNotStore returns an [exit.UsageError] if a directory is a store or is inside one.
func CheckNotStore(dir string) error {
	p, err := resolvePlace(Bundle, dir, nil)
	if err != nil {
		return nil // The code that writes to dir will report the error.
	}
	for at := p.resolved; ; at = filepath.Dir(at) {
		if _, err := os.Lstat(filepath.Join(at, journal.StateFile)); err == nil {
			return exit.UsageError(exit.WithHint(fmt.Errorf("%s is in the store %s", dir, at),
				"name a separate directory, and import the bundle afterwards: layoutproxy import DIR --store STORE"))
		}
		if at == filepath.Dir(at) {
			return nil
		}
	}
}

// Guard returns an error if two places overlap but must not, or if a place cannot be resolved.
func Guard(named ...Place) error {
	all, unknown := resolvePlaces(named)
	if e := findOverlap(all); e != nil {
		return e
	}
	return unknown
}
