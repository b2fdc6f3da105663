package doctor

import "testing"

// containerd sends the registry's name only to mirrors of the registry, and registry-1.docker.io is
// no mirror of docker.io (RegistryHost.isProxy in core/remotes/docker/registry.go). Its CRI plugin
// parses names with distribution/reference, which replaces index.docker.io by docker.io
// (normalize.go).
func TestNamespaceOfDockerHub(t *testing.T) {
	for _, c := range []struct{ image, server, want string }{
		{"docker.io/library/a", "registry-1.docker.io", ""},
		{"index.docker.io/library/a", "registry-1.docker.io", ""},
		{"docker.io/library/a", "127.0.0.1:5000", "docker.io"},
		{"index.docker.io/library/a", "mirror.example", "docker.io"},
		{"docker.io/library/a", "registry-1.docker.io:443", "docker.io"},
		{"registry-1.docker.io/library/a", "registry-1.docker.io", ""},
		{"reg.example/a", "registry-1.docker.io", "reg.example"},
		{"library/a", "registry-1.docker.io", ""},
	} {
		image, err := parseImage(c.image)
		if err != nil {
			t.Fatal(err)
		}
		if got := namespace(image.host, c.server); got != c.want {
			t.Errorf("image %s, server %s: namespace = %q, want %q", c.image, c.server, got, c.want)
		}
	}
}
