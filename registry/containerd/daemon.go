package containerd

import (
	"debug/buildinfo"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const defaultConfig = "/etc/containerd/config.toml"

// Nodes finds the containerd processes of this machine and reads their configurations. proc is the
// directory /proc. A program that contains containerd, such as k3s, also runs a process named
// containerd. Nodes ignores a containerd in a container with files of its own, such as that of kind or of Docker
// in Docker: no file of this machine configures it. If there is an error, Nodes also returns the processes found
// before it.
func Nodes(proc string) ([]Node, error) {
	names, err := filepath.Glob(filepath.Join(proc, "[0-9]*", "comm"))
	if err != nil {
		return nil, err
	}
	var nodes []Node
	for _, name := range names {
		comm, err := os.ReadFile(name)
		if err != nil || strings.TrimSpace(string(comm)) != "containerd" {
			continue // the process is another program, or it has ended
		}
		n, err := readNode(proc, filepath.Dir(name))
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errOtherFiles) {
			continue
		}
		if err != nil {
			return nodes, err
		}
		nodes = append(nodes, n)
	}
	return nodes, nil
}

// readNode reads the state and the configuration of a process. dir is its directory in /proc.
func readNode(proc, dir string) (n Node, err error) {
	if n.PID, err = strconv.Atoi(filepath.Base(dir)); err != nil {
		return n, err
	}
	line, err := os.ReadFile(filepath.Join(dir, "cmdline"))
	if err != nil {
		return n, err
	}
	config := configOf(strings.Split(string(line), "\x00"))
	if !filepath.IsAbs(config) {
		cwd, err := os.Readlink(filepath.Join(dir, "cwd"))
		if err != nil {
			return n, err
		}
		config = filepath.Join(cwd, config)
	}
	if hasOtherFile(dir, config) {
		return n, errOtherFiles
	}
	if n.Started, err = started(proc, dir); err != nil {
		return n, err
	}
	if info, err := buildinfo.ReadFile(filepath.Join(dir, "exe")); err == nil {
		n.Major = majorOf(info)
	}
	n.Config, n.Err = readConfig(config)
	if n.Err == nil && n.Major == 0 && n.Config.Version >= 3 {
		n.Major = 2
	}
	return n, nil
}

// errOtherFiles means that a process does not have the same files as this one.
var errOtherFiles = errors.New("the process runs in a container with files of its own")

// hasOtherFile reports whether a process finds another file at a path than this process. If neither finds one,
// it compares their root directories. dir is the directory of the process in /proc. If the answer is unknown,
// hasOtherFile returns false.
func hasOtherFile(dir, path string) bool {
	root := filepath.Join(dir, "root")
	if _, err := os.Stat(root); err != nil {
		return false
	}
	theirs, err := os.Stat(filepath.Join(root, path))
	ours, ourErr := os.Stat(path)
	missing, ourMissing := errors.Is(err, fs.ErrNotExist), errors.Is(ourErr, fs.ErrNotExist)
	switch {
	case missing && ourMissing && path != "/":
		return hasOtherFile(dir, "/")
	case missing && ourErr == nil, ourMissing && err == nil:
		return true
	}
	return err == nil && ourErr == nil && !os.SameFile(theirs, ours)
}

// configOf returns the configuration file that a command line names, or the default one.
func configOf(args []string) string {
	for i, arg := range args {
		for _, flag := range []string{"-c", "--config", "-config"} {
			if arg == flag && i+1 < len(args) {
				return args[i+1]
			}
			if value, ok := strings.CutPrefix(arg, flag+"="); ok {
				return value
			}
		}
	}
	return defaultConfig
}

// majorOf returns the major version of containerd, or 0 if it is unknown. It derives the version
// from the Go module that the binary was built from.
func majorOf(info *buildinfo.BuildInfo) (major int) {
	paths := []string{info.Path, info.Main.Path}
	for _, dep := range info.Deps {
		paths = append(paths, dep.Path)
	}
	const module = "github.com/containerd/containerd/"
	for _, path := range paths {
		if strings.HasPrefix(path+"/", module+"v2/") {
			return 2
		} else if strings.HasPrefix(path+"/", module) {
			major = 1
		}
	}
	return major
}

// ticks is how many units per second Linux uses for the start time of a process.
const ticks = 100

// started returns the start time of a process. Linux reports it relative to the machine's start.
func started(proc, dir string) (time.Time, error) {
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return time.Time{}, err
	}
	// The name of the process is in parentheses and may contain anything.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) < 20 {
		return time.Time{}, fmt.Errorf("%s: has %d fields after the name, want at least 20", filepath.Join(dir, "stat"), len(fields))
	}
	since, err := strconv.ParseInt(fields[19], 10, 64)
	if err != nil {
		return time.Time{}, err
	}
	machine, err := os.ReadFile(filepath.Join(proc, "stat"))
	if err != nil {
		return time.Time{}, err
	}
	for line := range strings.Lines(string(machine)) {
		if value, ok := strings.CutPrefix(line, "btime "); ok {
			boot, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
			return time.Unix(boot+since/ticks, 0), err
		}
	}
	return time.Time{}, fmt.Errorf("%s: the line btime is missing", filepath.Join(proc, "stat"))
}
