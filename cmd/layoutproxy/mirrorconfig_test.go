package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/console"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/registry/containerd"
)

// machine creates the files of a node on which containerd reads the directory registry.d, as it
// does on nodes of Deckhouse. It returns the root directory of the node.
func machine(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"config.toml":     "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = \"" + dir + "/registry.d\"\n",
		"proc/stat":       "btime 1000000000\n",
		"proc/42/comm":    "containerd\n",
		"proc/42/cmdline": "containerd\x00-c\x00" + dir + "/config.toml\x00",
		"proc/42/stat":    fmt.Sprintf("42 (containerd) S%s 100 0\n", strings.Repeat(" 1", 18)),
	} {
		file := filepath.Join(dir, name)
		layouttest.Try(t, os.MkdirAll(filepath.Dir(file), 0o755))
		layouttest.Try(t, os.WriteFile(file, []byte(text), 0o644))
	}
	return dir
}

// mirror-config finds the directory that containerd on this node reads, and names it.
func TestMirrorConfigFindsDirectoryOfContainerd(t *testing.T) {
	dir := machine(t)
	run := func(write string, remove bool) (stdout, stderr string) {
		t.Helper()
		var out, errs bytes.Buffer
		c := &console.Output{}
		flags := mirrorFlags{write: write, remove: remove, proc: dir + "/proc"}
		flags.Host, flags.Endpoint = "registry.example", "http://127.0.0.1:5000"
		layouttest.Try(t, mirrorConfig(c, &flags, &out, &errs))
		return out.String(), errs.String()
	}
	hosts := dir + "/registry.d/registry.example/hosts.toml"
	if printed, _ := run("", false); !strings.Contains(printed, "# containerd reads this file, "+hosts) {
		t.Errorf("mirror-config prints %q, want a comment with the path %s", printed, hosts)
	}
	out, errs := run("auto", false)
	if out != hosts+": created\n" || !strings.Contains(errs, "containerd (process 42) reads "+dir+"/registry.d") {
		t.Errorf("mirror-config --write auto prints %q, and on standard error %q, want the created file and the directory that containerd reads", out, errs)
	}
	if _, err := os.Stat(hosts); err != nil {
		t.Error(err)
	}
	if out, _ = run("auto", true); out != hosts+": removed\n" {
		t.Errorf("mirror-config --write auto --remove prints %q, want the path of the file and \"removed\"", out)
	}
}

// Writing to the default directory gives a warning if containerd reads a different directory.
func TestMirrorConfigWarnsOfOtherDirectory(t *testing.T) {
	dir := machine(t)
	flags := mirrorFlags{write: containerd.DefaultDir, proc: dir + "/proc"}
	if w := flags.readElsewhere(); !strings.Contains(w, dir+"/registry.d, and not "+containerd.DefaultDir) {
		t.Errorf("writing to the default directory gives the warning %q, want one that names both directories", w)
	}
	for _, other := range []string{dir + "/registry.d", "/srv/certs.d"} {
		if flags.write = other; flags.readElsewhere() != "" {
			t.Errorf("writing to %s gives the warning %q, want none", other, flags.readElsewhere())
		}
	}
}
