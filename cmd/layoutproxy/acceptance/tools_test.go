package acceptance

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	must(t, err)
	return data
}

// commandTimeout limits one run of a client. The sample is small.
const commandTimeout = time.Minute

// tool returns the path of a program from this module's tool directives. The first call builds
// it.
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

// packaged returns the path of a program from a Debian package.
func packaged(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%v\nhint: apt-get install %s (promtool is in the package prometheus, systemd-analyze in systemd, ctr in containerd)", err, name)
	}
	return path
}

// run runs a client and returns its output. Its home is empty, so that the machine's own
// configuration and credentials have no effect.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	return runIn(t, t.TempDir(), name, args...)
}

// runIn runs a client like run, but with a given home, which keeps its login.
func runIn(t *testing.T, home, name string, args ...string) string {
	t.Helper()
	stdout, stderr, err := execute(t, home, name, args)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, stdout, stderr)
	}
	return stdout
}

// runRefused runs a client that must fail because it has no credentials.
func runRefused(t *testing.T, home, name string, args ...string) {
	t.Helper()
	stdout, stderr, err := execute(t, home, name, args)
	if err == nil {
		t.Fatalf("%s %s: it should have failed\n%s%s", name, strings.Join(args, " "), stdout, stderr)
	}
	if text := strings.ToLower(stdout + stderr); !strings.Contains(text, "unauthorized") && !strings.Contains(text, "authentication required") && !strings.Contains(text, "invalid username") {
		t.Errorf("%s %s: failed for another reason: %s%s", name, strings.Join(args, " "), stdout, stderr)
	}
}

// execute runs a program in a directory, which is also its home.
func execute(t *testing.T, home, name string, args []string, env ...string) (stdout, stderr string, err error) {
	ctx, cancel := context.WithTimeout(t.Context(), commandTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = home
	cmd.Env = append(bareEnv(home), env...)
	cmd.WaitDelay = 5 * time.Second // its children may keep the output open
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
