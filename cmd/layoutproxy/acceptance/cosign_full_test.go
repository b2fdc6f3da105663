//go:build full

package acceptance

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// signer runs cosign in a directory with a key pair.
type signer struct {
	program, dir string
}

func (s signer) try(t *testing.T, args ...string) (string, error) {
	t.Helper()
	stdout, stderr, err := execute(t, s.dir, s.program, args, "COSIGN_PASSWORD=", "COSIGN_EXPERIMENTAL=1")
	return stdout + stderr, err
}

func (s signer) run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := s.try(t, args...)
	if err != nil {
		t.Fatalf("cosign %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// TestCosignVerifiesSignatures signs one image with a signature tag and one with a referrer. cosign writes
// through the front, and verifies at the read-only server.
func TestCosignVerifiesSignatures(t *testing.T) {
	s, front := writable(t, "tagged", "referring", "unsigned")
	c := signer{filepath.Join(installed(t, cosign, "cmd/cosign"), "cosign"), t.TempDir()}
	c.run(t, "generate-key-pair")
	verify := []string{"verify", "--key", "cosign.pub", "--insecure-ignore-tlog", "--allow-http-registry"}
	for repository, how := range map[string]struct{ sign, verify string }{
		"tagged":    {"--registry-referrers-mode=legacy", "--experimental-oci11=false"},
		"referring": {"--registry-referrers-mode=oci-1-1", "--experimental-oci11"},
	} {
		t.Run(repository, func(t *testing.T) {
			image := pushed(t, s, front, repository)
			c.run(t, "sign", "--key", "cosign.key", "--tlog-upload=false", "--use-signing-config=false", "--new-bundle-format=false", "--yes",
				"--allow-http-registry", how.sign, front+image)
			_, d, _ := strings.Cut(image, "@")
			if out := c.run(t, append(verify, how.verify, s.registry+image)...); !strings.Contains(out, d) {
				t.Errorf("cosign verify does not print the digest of the image:\n%s", out)
			}
		})
	}
	image := pushed(t, s, front, "unsigned")
	if out, err := c.try(t, append(verify, s.registry+image)...); err == nil {
		t.Errorf("cosign verified an image without a signature, want an error: %s", out)
	}
}

// pushed pushes an image to a repository, and returns /REPOSITORY@DIGEST.
func pushed(t *testing.T, s server, front, repository string) string {
	t.Helper()
	dir := t.TempDir()
	l := layouttest.New(t, dir).Layout(repository)
	d := l.Image(layouttest.Image{Name: repository, Files: map[string]string{"name": repository}})
	l.Tag(d, "v1")
	l.Write()
	from := serve(t, dir, "--root-repository", "")
	run(t, tool(t, "crane"), "copy", "--insecure", from.registry+"/"+repository+":v1", front+"/"+repository+":v1")
	return "/" + repository + "@" + string(d.Digest)
}
