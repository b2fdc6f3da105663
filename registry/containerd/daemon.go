package containerd

import (
	"debug/buildinfo"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Daemon is a containerd process on this machine.
type Daemon struct {
	PID    int
	Major  int    // 1 or 2; 0 if its binary does not say, or cannot be read
	Config string // its configuration file, which may be missing
	// Started is the start time, at most two seconds too early.
	Started time.Time
}

const defaultConfig = "/etc/containerd/config.toml"

// Daemons finds the containerd processes in proc, the directory /proc. Embedded ones, such
// as that of k3s, have that process name too.
func Daemons(proc string) ([]Daemon, error) {
	names, err := filepath.Glob(filepath.Join(proc, "[0-9]*", "comm"))
	if err != nil {
		return nil, err
	}
	var found []Daemon
	for _, name := range names {
		comm, err := os.ReadFile(name)
		if err != nil || strings.TrimSpace(string(comm)) != "containerd" {
			continue // the process may have ended
		}
		d, err := daemon(proc, filepath.Dir(name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return found, err
		}
		found = append(found, d)
	}
	return found, nil
}

func daemon(proc, dir string) (Daemon, error) {
	pid, err := strconv.Atoi(filepath.Base(dir))
	if err != nil {
		return Daemon{}, err
	}
	line, err := os.ReadFile(filepath.Join(dir, "cmdline"))
	if err != nil {
		return Daemon{}, err
	}
	d := Daemon{PID: pid, Config: configOf(strings.Split(string(line), "\x00"))}
	if !filepath.IsAbs(d.Config) {
		cwd, err := os.Readlink(filepath.Join(dir, "cwd"))
		if err != nil {
			return Daemon{}, err
		}
		d.Config = filepath.Join(cwd, d.Config)
	}
	if info, err := buildinfo.ReadFile(filepath.Join(dir, "exe")); err == nil {
		d.Major = majorOf(info)
	}
	d.Started, err = started(proc, dir)
	return d, err
}

// configOf returns the configuration file in a command line.
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

// majorOf distinguishes 1.x and 2.x by the Go module that the binary was built from.
func majorOf(info *buildinfo.BuildInfo) int {
	paths := []string{info.Path, info.Main.Path}
	for _, dep := range info.Deps {
		paths = append(paths, dep.Path)
	}
	const module = "github.com/containerd/containerd"
	switch {
	case slices.ContainsFunc(paths, func(p string) bool { return strings.HasPrefix(p+"/", module+"/v2/") }):
		return 2
	case slices.ContainsFunc(paths, func(p string) bool { return strings.HasPrefix(p+"/", module+"/") }):
		return 1
	}
	return 0
}

// ticks is the number of units per second of a process's start time, which Linux reports
// in the same unit to all programs.
const ticks = 100

// started returns the start time of a process, from that of the machine.
func started(proc, dir string) (time.Time, error) {
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return time.Time{}, err
	}
	// The name, in parentheses, may contain anything.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) < 20 {
		return time.Time{}, fmt.Errorf("%s: %d fields", filepath.Join(dir, "stat"), len(fields))
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
	return time.Time{}, fmt.Errorf("%s: no btime", filepath.Join(proc, "stat"))
}
