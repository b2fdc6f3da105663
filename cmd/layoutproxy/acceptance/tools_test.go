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

// commandTimeout is how long a client may run. This is enough, because the sample is small.
const commandTimeout = time.Minute

// tool returns the path of a program from a tool directive in go.mod. The first call builds it.
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

// packaged returns the path of a program that a Debian package installs.
func packaged(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%v\nhint: apt-get install %s (promtool is in the package prometheus, systemd-analyze in systemd, ctr in containerd)", err, name)
	}
	return path
}

// run runs a client and returns its output. The client has an empty home directory, so the user's
// configuration and credentials have no effect.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	return runIn(t, t.TempDir(), name, args...)
}

// runIn is like run, but with a given home directory, where the client keeps its login.
func runIn(t *testing.T, home, name string, args ...string) string {
	t.Helper()
	stdout, stderr, err := execute(t, home, name, args)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, stdout, stderr)
	}
	return stdout
}

// runRefused fails the test unless the registry refuses the credentials of a client.
func runRefused(t *testing.T, home, name string, args ...string) {
	t.Helper()
	stdout, stderr, err := execute(t, home, name, args)
	if err == nil {
		t.Fatalf("%s %s: the command succeeded with wrong or missing credentials, want a failure:\n%s%s", name, strings.Join(args, " "), stdout, stderr)
	}
	if text := strings.ToLower(stdout + stderr); !strings.Contains(text, "unauthorized") && !strings.Contains(text, "authentication required") && !strings.Contains(text, "invalid username") {
		t.Errorf("%s %s: the command failed for another reason, want refused credentials: %s%s", name, strings.Join(args, " "), stdout, stderr)
	}
}

// execute runs a program with home as its home and working directory.
func execute(t *testing.T, home, name string, args []string, env ...string) (stdout, stderr string, err error) {
	ctx, cancel := context.WithTimeout(t.Context(), commandTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = home
	cmd.Env = append(bareEnv(home), env...)
	cmd.WaitDelay = 5 * time.Second // the client's child processes may keep the output open
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}

// bareEnv returns a minimal environment, without proxies or credentials.
func bareEnv(home string) []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + home, "TMPDIR=" + os.TempDir(),
		"XDG_RUNTIME_DIR=" + home, "DOCKER_CONFIG=" + home,
	}
}
