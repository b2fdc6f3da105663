package acceptance

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// worstExposure is the highest acceptable score from systemd-analyze security. Scores range from 0
// (best) to 10. The service needs the network and the files that it serves, so 0 is impossible.
const worstExposure = 1.5

// systemd accepts the unit without warnings, and gives it a good security score.
func TestSystemdUnit(t *testing.T) {
	analyze := packaged(t, "systemd-analyze")
	root := systemRoot(t)
	combined := func(args ...string) string {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), analyze, args...).CombinedOutput()
		if err != nil {
			t.Errorf("systemd-analyze %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	if said := combined("verify", "--man=no", "--root="+root, "layoutproxy.service"); said != "" {
		t.Errorf("got this output from systemd-analyze verify, want none:\n%s", said)
	}
	said := combined("security", "--no-pager", "--offline=yes", "--root="+root, "layoutproxy.service")
	level := regexp.MustCompile(`exposure level for layoutproxy\.service: ([0-9.]+)`).FindStringSubmatch(said)
	if level == nil {
		t.Fatalf("systemd-analyze security printed no exposure level, want one:\n%s", said)
	}
	if f, err := strconv.ParseFloat(level[1], 64); err != nil || f > worstExposure {
		t.Errorf("got exposure level %s, want at most %v:\n%s", level[1], worstExposure, said)
	}
}

func TestSystemdConfigurationIsValid(t *testing.T) {
	file, err := filepath.Abs(projectDir + "/deploy/systemd/config.yaml")
	must(t, err)
	run(t, program, "serve", "--config", file, "--check-config")
}

// systemRoot makes a root directory with the unit, and with all programs and targets that it needs.
func systemRoot(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	put := func(from, to string, mode os.FileMode) {
		t.Helper()
		data := layouttest.ReadFile(t, from)
		to = filepath.Join(root, to)
		must(t, os.MkdirAll(filepath.Dir(to), 0o755))
		must(t, os.WriteFile(to, data, mode))
	}
	put(projectDir+"/deploy/systemd/layoutproxy.service", "etc/systemd/system/layoutproxy.service", 0o644)
	put(program, "usr/local/bin/layoutproxy", 0o755)
	put(packaged(t, "kill"), "bin/kill", 0o755)
	for _, target := range []string{"sysinit", "basic", "shutdown", "network", "local-fs", "remote-fs", "multi-user"} {
		put("/lib/systemd/system/"+target+".target", "etc/systemd/system/"+target+".target", 0o644)
	}
	return root
}
