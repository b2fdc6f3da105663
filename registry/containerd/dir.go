package containerd

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/layoutproxy/layoutproxy/layoutstore/durable"
	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
)

const hostsFile = "hosts.toml"

// DefaultDir is where containerd's hosts.toml files usually lie.
const DefaultDir = "/etc/containerd/certs.d"

// hostDirectory is the name that containerd looks for first: :PORT becomes _PORT_.
func hostDirectory(host string) string {
	if i := strings.LastIndexByte(host, ':'); i > 0 {
		return host[:i] + "_" + host[i+1:] + "_"
	}
	return host
}

// HostDirs are the directories in which containerd looks for a registry's hosts.toml,
// in its order. It takes the first that exists, whatever is in it.
func HostDirs(dir, host string) []string {
	names := []string{hostDirectory(host), host, defaultHost}
	var dirs []string
	for i, name := range names {
		if i == 0 || name != names[i-1] {
			dirs = append(dirs, filepath.Join(dir, name))
		}
	}
	return dirs
}

// Change is what [Mirror.Write] or [Remove] did.
type Change struct {
	File string `json:"file"`
	// Did is created, changed, unchanged, removed or, where there was nothing to
	// remove, absent.
	Did string `json:"did"`
	// Warnings say what no longer holds as it did.
	Warnings []string `json:"warnings,omitempty"`
}

// Write puts the mirror into the hosts.toml of its registry below dir, which is made
// if it is missing. An earlier part of another endpoint is replaced. The errors are
// those of the file system, and [*AdviceError] for a file that cannot take the part.
func (m *Mirror) Write(dir string) (Change, error) {
	if err := m.checkFiles(); err != nil {
		return Change{}, err
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return Change{}, err
	}
	target := target(dir, m.options.Host)
	change := Change{File: filepath.Join(target, hostsFile), Did: "changed"}
	text, what, err := read(change.File)
	if err != nil {
		return change, err
	}
	edited, err := m.edit(text, change.File, what)
	if err != nil {
		return change, fmt.Errorf("%s: %w", change.File, err)
	}
	switch {
	case what != madeNothing:
		change.Did = "created"
		change.Warnings = shadows(dir, m.options.Host, target)
	case bytes.Equal(edited, text):
		change.Did = "unchanged"
		return change, nil
	}
	if _, err := os.Stat(target); errors.Is(err, fs.ErrNotExist) {
		return change, makeDir(target, edited)
	}
	return change, replace(change.File, edited)
}

// aside begins the names of directories that are being made or removed. No registry has
// such a name.
const aside = ".layoutproxy-"

// makeDir makes a directory with its hosts.toml in one step: an empty one would hide the
// hosts.toml of _default.
func makeDir(target string, text []byte) error {
	parent := filepath.Dir(target)
	if err := durable.MkdirAll(parent, 0o755); err != nil {
		return err
	}
	temp, err := os.MkdirTemp(parent, aside)
	if err != nil {
		return err
	}
	err = os.Chmod(temp, 0o755) //nolint:gosec // as containerd's other directories are
	if err == nil {
		err = replace(filepath.Join(temp, hostsFile), text)
	}
	if err == nil {
		err = os.Rename(temp, target)
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(temp))
	}
	return durable.SyncDir(parent)
}

// target is the directory that containerd takes for a registry: the first that exists
// of those that are the registry's own.
func target(dir, host string) string {
	dirs := HostDirs(dir, host)
	for _, d := range dirs {
		if filepath.Base(d) == defaultHost && host != defaultHost {
			continue
		}
		if _, err := os.Stat(d); err == nil {
			return d
		}
	}
	return dirs[0]
}

// read reads a hosts.toml, or says what would have to be made for it.
func read(file string) ([]byte, made, error) {
	text, err := plainfile.Read(file, maxFile)
	if !errors.Is(err, fs.ErrNotExist) {
		return text, madeNothing, err
	}
	if _, err := os.Lstat(file); err == nil {
		return nil, madeNothing, advise("make what the link leads to, or take the link away", "%s: a link that leads nowhere", file)
	}
	dir := filepath.Dir(file)
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return nil, madeTheFile, nil
	}
	if madeFor(filepath.Dir(dir)) {
		return nil, madeTheDirs, nil
	}
	return nil, madeTheDir, nil
}

// madeFor says whether a certs.d directory is missing, or was made for a part that is
// still in it: the last of them to go takes it away.
func madeFor(dir string) bool {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return true
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*", hostsFile))
	for _, file := range files {
		text, err := plainfile.Read(file, maxFile)
		if err != nil || strings.HasPrefix(filepath.Base(filepath.Dir(file)), aside) {
			continue
		}
		if p, err := findPart(text); err == nil && p != nil && p.made == madeTheDirs {
			return true
		}
	}
	return false
}

// shadows says what containerd no longer reads once a registry has a hosts.toml in
// target.
func shadows(dir, host, target string) (warnings []string) {
	// Docker's pattern counts only where there is no hosts.toml.
	for _, pattern := range []string{"*.crt", "*.cert"} {
		if found, _ := filepath.Glob(filepath.Join(target, pattern)); len(found) > 0 {
			warnings = append(warnings, fmt.Sprintf("containerd no longer reads %s by itself, now that %s is beside it: name it in that file for the registry itself (ca, client)", found[0], hostsFile))
		}
	}
	general := filepath.Join(dir, defaultHost, hostsFile)
	if _, err := os.Stat(general); err == nil && host != defaultHost {
		warnings = append(warnings, fmt.Sprintf("%s no longer holds for %s, which has a file of its own now", general, host))
	}
	return warnings
}

// replace replaces a file by a rename, through links, and keeps its mode.
func replace(file string, text []byte) error {
	if to, err := filepath.EvalSymlinks(file); err == nil {
		file = to
	}
	return durable.WriteFile(file, text, 0o644)
}

// Remove takes the part that [Mirror.Write] put into the hosts.toml of a registry out
// of it, and the file and the directories with it that were made for it and hold
// nothing else. The errors are those of [Mirror.Write].
func Remove(dir, host string) (Change, error) {
	if err := checkHost(host); err != nil {
		return Change{}, err
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return Change{}, err
	}
	change := Change{File: filepath.Join(target(dir, host), hostsFile), Did: "absent"}
	for _, d := range HostDirs(dir, host) {
		if filepath.Base(d) == defaultHost && host != defaultHost {
			continue
		}
		file := filepath.Join(d, hostsFile)
		text, err := plainfile.Read(file, maxFile)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return change, err
		}
		rest, what, found, err := take(text)
		if err != nil {
			return Change{File: file}, fmt.Errorf("%s: %w", file, err)
		}
		if found {
			return Change{File: file, Did: "removed"}, putBack(file, rest, what)
		}
	}
	return change, nil
}

// putBack leaves what was there before our part.
func putBack(file string, rest []byte, what made) error {
	if len(rest) > 0 || what == madeNothing {
		return replace(file, rest)
	}
	dir, levels := filepath.Dir(file), what-madeTheFile
	if levels > 0 && isOnlyFile(file) {
		if err := removeDir(dir); err != nil {
			return err
		}
		dir, levels = filepath.Dir(dir), levels-1
	} else if err := os.Remove(file); err != nil {
		return err
	} else if levels > 0 {
		levels = 0 // a directory stays where something else is in it
	}
	for ; levels > 0 && os.Remove(dir) == nil; levels-- {
		dir = filepath.Dir(dir)
	}
	return durable.SyncDir(dir)
}

// isOnlyFile says whether nothing else is in the file's directory, which is no link.
func isOnlyFile(file string) bool {
	dir := filepath.Dir(file)
	info, err := os.Lstat(dir)
	if err != nil || !info.IsDir() {
		return false
	}
	entries, err := os.ReadDir(dir)
	return err == nil && len(entries) == 1 && entries[0].Name() == filepath.Base(file)
}

// removeDir removes a directory and its hosts.toml in one step, as makeDir makes it.
func removeDir(dir string) error {
	temp, err := os.MkdirTemp(filepath.Dir(dir), aside)
	if err != nil {
		return err
	}
	err = os.Rename(dir, filepath.Join(temp, filepath.Base(dir)))
	return errors.Join(err, os.RemoveAll(temp))
}
