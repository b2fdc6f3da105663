package acceptance

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// commandTimeout is for a single run of a client: the sample is small.
const commandTimeout = time.Minute

// tool returns the path of a program of this module's tool directives. The first call
// builds it, and go keeps what it built.
func tool(t *testing.T, name string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "tool", "-n", name)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%shint: run go mod download in cmd/layoutproxy/acceptance", name, err, &stderr)
	}
	return strings.TrimSpace(string(out))
}

// packaged returns the path of a program of the distribution.
func packaged(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%v\nhint: apt-get install %s (promtool is in the package prometheus, systemd-analyze in systemd, ctr in containerd)", err, name)
	}
	return path
}

// run runs a client to its end and returns what it printed. The client gets an
// empty home, so that no configuration and no credentials of the machine count.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	return in(t, t.TempDir(), name, args...)
}

// in is run with a home that is kept, for a client that logs in.
func in(t *testing.T, home, name string, args ...string) string {
	t.Helper()
	stdout, stderr, err := execute(t, home, name, args)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, stdout, stderr)
	}
	return stdout
}

// fails runs a client that has to fail for want of credentials.
func fails(t *testing.T, home, name string, args ...string) {
	t.Helper()
	stdout, stderr, err := execute(t, home, name, args)
	if err == nil {
		t.Fatalf("%s %s: it should have failed\n%s%s", name, strings.Join(args, " "), stdout, stderr)
	}
	if text := strings.ToLower(stdout + stderr); !strings.Contains(text, "unauthorized") && !strings.Contains(text, "authentication required") && !strings.Contains(text, "invalid username") {
		t.Errorf("%s %s: failed for another reason: %s%s", name, strings.Join(args, " "), stdout, stderr)
	}
}

func execute(t *testing.T, home, name string, args []string) (stdout, stderr string, err error) {
	ctx, cancel := context.WithTimeout(t.Context(), commandTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = home
	cmd.Env = bareEnv(home)
	cmd.WaitDelay = 5 * time.Second // for what it leaves behind with its output open
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}

// bareEnv returns an environment without configuration: no proxies, no credentials.
func bareEnv(home string) []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + home, "TMPDIR=" + os.TempDir(),
		"XDG_RUNTIME_DIR=" + home, "DOCKER_CONFIG=" + home,
	}
}
