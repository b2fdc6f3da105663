package containerd

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/layoutproxy/layoutproxy/layoutstore/durable"
	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
)

const hostsFile = "hosts.toml"

// DefaultDir is where containerd's hosts.toml files usually are.
const DefaultDir = "/etc/containerd/certs.d"

// hostDirectory returns the directory name that containerd looks for first: HOST_PORT_ for
// HOST:PORT.
func hostDirectory(host string) string {
	if i := strings.LastIndexByte(host, ':'); i > 0 {
		return host[:i] + "_" + host[i+1:] + "_"
	}
	return host
}

// ownDirs returns the directories below dir that may contain a registry's own hosts.toml, in
// containerd's order. containerd uses the first one that exists, whatever it contains. _default
// is not among them.
func ownDirs(dir, host string) []string {
	return slices.Compact([]string{filepath.Join(dir, hostDirectory(host)), filepath.Join(dir, host)})
}

// Change is the result of [Mirror.Write] or [Remove].
type Change struct {
	File string `json:"file"`
	// Did is created, changed, unchanged or removed, or absent if there was nothing to remove.
	Did string `json:"did"`
	// Warnings are lines about files that containerd ignores from now on, for all hosts or for this one.
	Warnings []string `json:"warnings,omitempty"`
}

// Write adds the mirror to the hosts.toml of its registry below dir. If the file or dir is
// missing, Write creates it. It replaces an earlier section of the mirror. If the section cannot
// be added to the file, the error is an [*AdviceError]. Other errors come from the file system.
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
	text, created, err := read(change.File)
	if err != nil {
		return change, err
	}
	edited, err := m.edit(text, change.File, created)
	if err != nil {
		return change, fmt.Errorf("%s: %w", change.File, err)
	}
	switch {
	case created != madeNothing:
		change.Did = "created"
		change.Warnings = shadowWarnings(dir, m.options.Host, target)
	case bytes.Equal(edited, text):
		change.Did = "unchanged"
		return change, nil
	}
	if _, err := os.Stat(target); errors.Is(err, fs.ErrNotExist) {
		return change, makeDir(target, edited)
	}
	return change, replace(change.File, edited)
}

// aside is the start of the names of directories that are being created or removed. No registry
// has a name that starts like this.
const aside = ".layoutproxy-"

// makeDir creates a directory together with its hosts.toml in one step. An empty directory would
// hide the hosts.toml of _default.
func makeDir(target string, text []byte) error {
	parent := filepath.Dir(target)
	if err := durable.MkdirAll(parent, 0o755); err != nil {
		return err
	}
	temp, err := os.MkdirTemp(parent, aside)
	if err != nil {
		return err
	}
	err = os.Chmod(temp, 0o755) //nolint:gosec // same mode as containerd's other directories
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

// target returns the first of a registry's own directories that exists. If none exists, it returns
// the one to create.
func target(dir, host string) string {
	dirs := ownDirs(dir, host)
	for _, d := range dirs {
		if _, err := os.Stat(d); err == nil {
			return d
		}
	}
	return dirs[0]
}

// read reads a hosts.toml. If the file is missing, read returns what has to be created for it.
func read(file string) ([]byte, made, error) {
	text, err := plainfile.Read(file, maxFile)
	if !errors.Is(err, fs.ErrNotExist) {
		return text, madeNothing, err
	}
	if _, err := os.Lstat(file); err == nil {
		return nil, madeNothing, advise("create the target of the link, or remove the link", "%s: broken symbolic link", file)
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

// madeFor reports whether dir, the certs.d directory, was or will be created for a section of
// layoutproxy. That is so if dir is missing, or if a section of layoutproxy below it says so. The
// directory is removed together with the last of these sections.
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
		if p, err := findSection(text); err == nil && p != nil && p.made == madeTheDirs {
			return true
		}
	}
	return false
}

// shadowWarnings warns about files that containerd ignores once target contains a hosts.toml.
func shadowWarnings(dir, host, target string) (warnings []string) {
	// containerd reads certificate files in Docker's layout only if the directory has no hosts.toml.
	for _, pattern := range []string{"*.crt", "*.cert"} {
		if found, _ := filepath.Glob(filepath.Join(target, pattern)); len(found) > 0 {
			warnings = append(warnings, fmt.Sprintf("containerd ignores %s now that %s exists in the same directory: if the registry itself needs that certificate, list it in hosts.toml (ca, client)", found[0], hostsFile))
		}
	}
	general := filepath.Join(dir, defaultHost, hostsFile)
	if _, err := os.Stat(general); err == nil && host != defaultHost {
		warnings = append(warnings, fmt.Sprintf("%s no longer applies to %s, which now has its own file", general, host))
	}
	return warnings
}

// replace replaces a file by renaming a new one over it. It follows links, and keeps the mode.
func replace(file string, text []byte) error {
	if to, err := filepath.EvalSymlinks(file); err == nil {
		file = to
	}
	return durable.WriteFile(file, text, 0o644)
}

// Remove removes the section that [Mirror.Write] added to the hosts.toml of a registry. It also
// removes the file and the directories that were created for the section, if they contain nothing
// else. It returns the same errors as [Mirror.Write].
func Remove(dir, host string) (Change, error) {
	if err := checkHost(host); err != nil {
		return Change{}, err
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return Change{}, err
	}
	change := Change{File: filepath.Join(target(dir, host), hostsFile), Did: "absent"}
	for _, d := range ownDirs(dir, host) {
		file := filepath.Join(d, hostsFile)
		text, err := plainfile.Read(file, maxFile)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return change, err
		}
		rest, created, found, err := cutSection(text)
		if err != nil {
			return Change{File: file}, fmt.Errorf("%s: %w", file, err)
		}
		if found {
			return Change{File: file, Did: "removed"}, restore(file, rest, created)
		}
	}
	return change, nil
}

// restore restores the file and the directories as they were before the section was added.
func restore(file string, rest []byte, created made) error {
	if len(rest) > 0 || created == madeNothing {
		return replace(file, rest)
	}
	dir, levels := filepath.Dir(file), created-madeTheFile
	if levels > 0 && isOnlyFile(file) {
		if err := removeDir(dir); err != nil {
			return err
		}
		dir, levels = filepath.Dir(dir), levels-1
	} else if err := os.Remove(file); err != nil {
		return err
	} else if levels > 0 {
		levels = 0 // a directory with other content is kept
	}
	for ; levels > 0 && os.Remove(dir) == nil; levels-- {
		dir = filepath.Dir(dir)
	}
	return durable.SyncDir(dir)
}

// isOnlyFile reports whether a file is the only entry of its directory. It returns false if the
// directory is a link.
func isOnlyFile(file string) bool {
	dir := filepath.Dir(file)
	info, err := os.Lstat(dir)
	if err != nil || !info.IsDir() {
		return false
	}
	entries, err := os.ReadDir(dir)
	return err == nil && len(entries) == 1 && entries[0].Name() == filepath.Base(file)
}

// removeDir removes a directory and its hosts.toml in one step: containerd never sees the
// directory without the file.
func removeDir(dir string) error {
	temp, err := os.MkdirTemp(filepath.Dir(dir), aside)
	if err != nil {
		return err
	}
	err = os.Rename(dir, filepath.Join(temp, filepath.Base(dir)))
	return errors.Join(err, os.RemoveAll(temp))
}
