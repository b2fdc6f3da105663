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

// machine makes the files of a node whose containerd reads the directory registry.d, as on nodes of
// Deckhouse, and returns their directory.
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

// mirror-config finds the directory that the containerd of a node reads, and reports which one it
// is.
func TestMirrorConfigFindsDirectory(t *testing.T) {
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
		t.Errorf("it is not printed for %s: %s", hosts, printed)
	}
	out, errs := run("auto", false)
	if out != hosts+": created\n" || !strings.Contains(errs, "containerd (process 42) reads "+dir+"/registry.d") {
		t.Errorf("%s%s", out, errs)
	}
	if _, err := os.Stat(hosts); err != nil {
		t.Error(err)
	}
	if out, _ = run("auto", true); out != hosts+": removed\n" {
		t.Error(out)
	}
}

// A write to the usual directory warns if this node's containerd reads another one.
func TestMirrorConfigWarnsOfOtherDirectory(t *testing.T) {
	dir := machine(t)
	flags := mirrorFlags{write: containerd.DefaultDir, proc: dir + "/proc"}
	if w := flags.readElsewhere(); !strings.Contains(w, dir+"/registry.d, and not "+containerd.DefaultDir) {
		t.Errorf("%q", w)
	}
	for _, other := range []string{dir + "/registry.d", "/srv/certs.d"} {
		if flags.write = other; flags.readElsewhere() != "" {
			t.Errorf("%s: %s", other, flags.readElsewhere())
		}
	}
}
