//go:build full

package acceptance

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// These are the modules of programs that neither Debian nor this module's go.mod provides.
const (
	containerd2 = "github.com/containerd/containerd/v2@v2.4.2"
	helm        = "helm.sh/helm/v3@v3.22.0"
	cosign      = "github.com/sigstore/cosign/v2@v2.6.5"
)

// installed returns a directory with programs from a Go module. The first call builds them into the
// user's cache directory, which takes minutes.
func installed(t *testing.T, module string, packages ...string) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	must(t, err)
	path, version, _ := strings.Cut(module, "@")
	dir := filepath.Join(cache, "layoutproxy-ci", strings.ReplaceAll(path, "/", "-")+"-"+version)
	for _, name := range packages {
		if _, err := os.Stat(filepath.Join(dir, filepath.Base(name))); err == nil {
			continue
		}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, "go", "install", path+"/"+name+"@"+version)
		cmd.Env = append(os.Environ(), "GOBIN="+dir, "CGO_ENABLED=0", "GOFLAGS=")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go install %s/%s@%s: %v\n%s", path, name, version, err, out)
		}
	}
	return dir
}

// releases returns the two releases of containerd that tests run: 1.x and 2.x.
func releases(t *testing.T) []release {
	t.Helper()
	dir := installed(t, containerd2, "cmd/containerd", "cmd/ctr", "cmd/containerd-shim-runc-v2")
	return []release{packagedRelease(t), {"2.x", dir, 2}}
}
