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

// maxLinks bounds the links that are followed in one path.
const maxLinks = 40

// resolvePlace resolves a path. If the path does not exist, the result is where it would be
// created. All other errors of the file system are returned.
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

// inodeOf returns the device and inode of a file, or zero if the system has none.
func inodeOf(info fs.FileInfo) inode {
	state, _ := fileid.Of(info)
	return inode{state.Device, state.Inode}
}

// resolve follows the links of an absolute path, even if it does not exist.
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
		return name, nil // neither a file nor a link
	}
	if links == 0 {
		return "", fmt.Errorf("%s: too many links", name)
	}
	if !filepath.IsAbs(to) {
		to = filepath.Join(parent, to)
	}
	return resolve(filepath.Clean(to), links-1)
}

// mount is a mounted file system, or a directory of one that is mounted by itself.
type mount struct {
	device string // of the file system
	root   string // the directory of it that is mounted
	point  string // where
}

// parseMounts reads /proc/self/mountinfo (proc_pid_mountinfo(5)). Fields are separated by blanks:
// the third is the device, the fourth the root and the fifth the mount point. Blanks and
// backslashes in them are written as \040 and so on. Later mounts hide earlier ones.
func parseMounts(text string) (all []mount) {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) >= 5 {
			all = append(all, mount{fields[2], unescape(fields[3]), unescape(fields[4])})
		}
	}
	return all
}

// unescape replaces the octal escapes of a mount table.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// spotsOf returns the positions of a resolved path, and of each mount below it, in their file
// systems.
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

// resolvePlaces resolves places. unknown has the errors for the places that it leaves out.
func resolvePlaces(named []Place) (all []Place, unknown error) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil && !missing(err) { // other systems have none
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

// Check fails with an [exit.UsageError] if two of the places overlap and must not. It ignores places
// that cannot be resolved: the code that opens them reports the error.
func Check(named ...Place) error {
	all, _ := resolvePlaces(named)
	if e := findOverlap(all); e != nil {
		return exit.UsageError(exit.WithHint(e, overlapHint(e)))
	}
	return nil
}

// CheckNotStore fails with an [exit.UsageError] if a directory is a store, or is in one.
func CheckNotStore(dir string) error {
	p, err := resolvePlace(Bundle, dir, nil)
	if err != nil {
		return nil // the code that writes there reports it
	}
	for at := p.resolved; ; at = filepath.Dir(at) {
		if _, err := os.Lstat(filepath.Join(at, journal.StateFile)); err == nil {
			return exit.UsageError(exit.WithHint(fmt.Errorf("%s is in the store %s", dir, at),
				"name a directory of its own, and import what was pulled: layoutproxy import DIR --store STORE"))
		}
		if at == filepath.Dir(at) {
			return nil
		}
	}
}

// Guard is [Check], but also fails if a place cannot be resolved.
func Guard(named ...Place) error {
	all, unknown := resolvePlaces(named)
	if e := findOverlap(all); e != nil {
		return e
	}
	return unknown
}
