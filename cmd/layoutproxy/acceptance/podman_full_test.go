//go:build full

package acceptance

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// engine is podman, buildah or skopeo, with its own configuration and storage in a directory.
type engine struct {
	program string
	dir     string
	flags   []string
}

// newEngine returns an engine. lines are the content of its registries.conf.
func newEngine(t *testing.T, name string, lines string) *engine {
	t.Helper()
	// podman refuses a runroot of more than 50 characters, and t.TempDir contains the test's name.
	dir, err := os.MkdirTemp("", "engine")
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	e := &engine{program: packaged(t, name), dir: dir, flags: []string{
		"--root", filepath.Join(dir, "root"), "--runroot", filepath.Join(dir, "run"), "--storage-driver", "vfs",
	}}
	if name == "podman" {
		e.flags = append(e.flags, "--cgroup-manager=cgroupfs", "--runtime=runc")
	}
	for file, text := range map[string]string{
		"registries.conf": lines,
		"config.json":     "{}", // no logins
		"policy.json":     `{"default":[{"type":"insecureAcceptAnything"}]}`,
	} {
		must(t, os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644))
	}
	t.Cleanup(func() { removeMounted(t, dir) })
	return e
}

// mirrored returns a registries.conf with a mirror that uses plain HTTP, as in docs/containerd.md.
func mirrored(location string) string {
	return fmt.Sprintf("[[registry]]\nprefix = %q\nlocation = %q\n\n[[registry.mirror]]\nlocation = %q\ninsecure = true\n", mirroredHost, mirroredHost, location)
}

func (e *engine) try(t *testing.T, args ...string) (string, error) {
	t.Helper()
	stdout, stderr, err := execute(t, e.dir, e.program, slices.Concat(e.flags, args),
		"CONTAINERS_REGISTRIES_CONF="+filepath.Join(e.dir, "registries.conf"), "BUILDAH_ISOLATION=chroot")
	return stderr + stdout, err
}

func (e *engine) run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := e.try(t, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", e.program, strings.Join(args, " "), err, out)
	}
	return out
}

func (e *engine) policy() string { return "--signature-policy=" + filepath.Join(e.dir, "policy.json") }

func TestPodmanPullsThroughAMirror(t *testing.T) {
	a := newApp(t, "podman")
	s := serve(t, a.dir, "--root-repository", "")
	e := newEngine(t, "podman", mirrored(s.registry))
	e.run(t, "pull", e.policy(), mirroredHost+"/app:flat")
	if out := e.run(t, "image", "inspect", "--format", "{{.Digest}} {{.RepoDigests}}", mirroredHost+"/app:flat"); !strings.Contains(out, string(a.inner.Digest)) {
		t.Errorf("podman reports %s, want the digest %s", out, a.inner.Digest)
	}
	if out := e.run(t, "run", "--rm", "--network=none", "--ulimit=nofile=64:64", "--ulimit=nproc=64:64", "--log-driver=none", e.policy(), mirroredHost+"/app:flat", "/hello"); !strings.Contains(out, "hello from podman") {
		t.Errorf("podman run printed %q, want \"hello from podman\"", out)
	}
	if out, err := e.try(t, "pull", e.policy(), mirroredHost+"/app:nothing"); err == nil {
		t.Errorf("podman pull of a missing tag succeeded, want an error: %s", out)
	}
}

func TestBuildahPullsThroughAMirror(t *testing.T) {
	a := newApp(t, "buildah")
	s := serve(t, a.dir, "--root-repository", "")
	e := newEngine(t, "buildah", mirrored(s.registry))
	container := strings.TrimSpace(e.run(t, "from", e.policy(), mirroredHost+"/app:v1"))
	if container = container[strings.LastIndexByte(container, '\n')+1:]; container == "" {
		t.Fatal("buildah from printed no name of a container, want one")
	}
	mount := strings.TrimSpace(e.run(t, "mount", container))
	if name, err := os.ReadFile(filepath.Join(mount, "name")); err != nil || string(name) != "buildah" {
		t.Errorf("the file \"name\" in the container: got %q and error %v, want \"buildah\" and no error", name, err)
	}
	e.run(t, "umount", container)
	e.run(t, "rm", container)
}

func TestSkopeoPullsThroughAMirror(t *testing.T) {
	a := newApp(t, "skopeo")
	s := serve(t, a.dir, "--root-repository", "")
	e := newEngine(t, "skopeo", mirrored(s.registry))
	e.flags = []string{"--policy", filepath.Join(e.dir, "policy.json"), "--registries-conf", filepath.Join(e.dir, "registries.conf")}
	to := filepath.Join(e.dir, "copy")
	e.run(t, "copy", "--all", "--preserve-digests", "docker://"+mirroredHost+"/app:flat", "oci:"+to+":copy")
	from := layout(a.layout.Dir())
	contentOf(t, from, a.inner.Digest).compare(t, "flat", contentOf(t, layout(to), a.inner.Digest))
}

// If the server is the location in registries.conf, not a mirror, podman uses no other registry.
func TestPodmanWithoutFallback(t *testing.T) {
	a := newApp(t, "alone")
	w := newWire(t, serve(t, a.dir, "--root-repository", ""))
	e := newEngine(t, "podman", fmt.Sprintf("[[registry]]\nprefix = %q\nlocation = %q\ninsecure = true\n", mirroredHost, w.host()))
	e.run(t, "pull", e.policy(), mirroredHost+"/app@"+string(a.image.Digest))
	if out, err := e.try(t, "pull", e.policy(), mirroredHost+"/app:nothing"); err == nil || !strings.Contains(out, "manifest unknown") {
		t.Errorf("podman pull of a missing tag: got error %v, want one with \"manifest unknown\" in the output: %s", err, out)
	}
	if len(w.requests("/v2/")) == 0 {
		t.Error("podman did not send GET /v2/, want at least one such request")
	}
	for d := range a.content(t, digest.Digest("")) {
		if len(w.requests(string(d))) == 0 {
			t.Errorf("podman did not request %s, want requests for all blobs of the image", d)
		}
	}
}
