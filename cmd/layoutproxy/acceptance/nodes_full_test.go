//go:build full

package acceptance

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// puller is a way to pull an image with containerd: ctr, ctr --local or CRI.
type puller struct {
	name string
	// pull pulls an image, and returns the output of the client.
	pull func(t *testing.T, c *containerd, reference string) (string, error)
}

func byCtr(flags ...string) func(*testing.T, *containerd, string) (string, error) {
	return func(t *testing.T, c *containerd, reference string) (string, error) {
		args := append([]string{"images", "pull", "--hosts-dir", c.certs}, flags...)
		return c.try(t, "ctr", append(args, reference)...)
	}
}

func byCRI(t *testing.T, c *containerd, reference string) (string, error) {
	ctx, cancel := context.WithTimeout(t.Context(), commandTimeout)
	defer cancel()
	err := newKubelet(t, c).pull(ctx, reference)
	return fmt.Sprint(err), err
}

// pullers returns the ways to pull that a release of containerd supports.
func (r release) pullers() []puller {
	all := []puller{{"ctr", byCtr()}, {"cri", byCRI}}
	if r.major >= 2 {
		all = append(all, puller{"ctr --local", byCtr("--local")})
	}
	return all
}

// everyWay runs a test for each release of containerd and each puller, with a new containerd.
func everyWay(t *testing.T, test func(t *testing.T, c *containerd, p puller)) {
	t.Helper()
	for _, r := range releases(t) {
		for _, p := range r.pullers() {
			t.Run(r.name+"/"+p.name, func(t *testing.T) { test(t, startContainerd(t, r, nil), p) })
		}
	}
}

// pullAndCompare pulls an image, and checks that the content store then contains all of want.
func (p puller) pullAndCompare(t *testing.T, c *containerd, reference string, want contents) {
	t.Helper()
	if out, err := p.pull(t, c, reference); err != nil {
		t.Fatalf("%s: %v\n%s", reference, err, out)
	}
	c.expectContents(t, reference, want)
}

// expectContents fails the test unless the content store contains all blobs of want.
func (c *containerd) expectContents(t *testing.T, what string, want contents) {
	t.Helper()
	for d, data := range want {
		if got := blob(t, c.store(), d); !bytes.Equal(got, data) {
			t.Errorf("%s: blob %s: got %d bytes that differ from the %d wanted bytes", what, d, len(got), len(data))
		}
	}
}

// expectAbsent fails the test if the content store contains a digest.
func (c *containerd) expectAbsent(t *testing.T, d digest.Digest) {
	t.Helper()
	if got := c.ctr(t, "ctr", "content", "ls", "-q") + c.ctr(t, criNamespace, "content", "ls", "-q"); strings.Contains(got, string(d)) {
		t.Errorf("the content store contains %s, want it absent", d)
	}
}

func TestNodesPullByTag(t *testing.T) {
	a := newApp(t, "pulled")
	s := serve(t, a.dir, "--root-repository", "")
	everyWay(t, func(t *testing.T, c *containerd, p puller) {
		c.mirror(t, mirroredHost, "http://"+s.registry)
		p.pullAndCompare(t, c, mirroredHost+"/app:nested", a.content(t, a.nested.Digest))
		p.pullAndCompare(t, c, mirroredHost+"/app:v1", a.content(t, a.image.Digest))
		if out := run(t, program, "doctor", "http://"+s.registry, mirroredHost+"/app:nested"); !strings.Contains(out, "ok       containerd") {
			t.Errorf("doctor does not report ok for the step containerd:\n%s", out)
		}
	})
}

func TestNodesPullByDigest(t *testing.T) {
	a := newApp(t, "by digest")
	s := serve(t, a.dir, "--root-repository", "")
	everyWay(t, func(t *testing.T, c *containerd, p puller) {
		c.mirror(t, mirroredHost, "http://"+s.registry)
		p.pullAndCompare(t, c, mirroredHost+"/app@"+string(a.nested.Digest), a.content(t, a.nested.Digest))
	})
}

func TestNodesPullByTLS(t *testing.T) {
	a, files := newApp(t, "tls"), newCertificates(t)
	s := serve(t, a.dir, "--root-repository", "", "--tls-cert", files.serverCert, "--tls-key", files.serverKey)
	everyWay(t, func(t *testing.T, c *containerd, p puller) {
		c.mirror(t, mirroredHost, "https://"+s.registry)
		if out, err := p.pull(t, c, mirroredHost+"/app:v1"); err == nil {
			t.Errorf("a pull from a server with an untrusted certificate succeeded, want an error: %s", out)
		}
		c.mirror(t, mirroredHost, "https://"+s.registry, "--ca", files.ca)
		p.pullAndCompare(t, c, mirroredHost+"/app:v1", a.content(t, a.image.Digest))
	})
}

func TestNodesPullByMutualTLS(t *testing.T) {
	a, files := newApp(t, "mutual tls"), newCertificates(t)
	s := serve(t, a.dir, "--root-repository", "", "--tls-cert", files.serverCert, "--tls-key", files.serverKey, "--client-ca", files.ca)
	everyWay(t, func(t *testing.T, c *containerd, p puller) {
		c.mirror(t, mirroredHost, "https://"+s.registry, "--ca", files.ca)
		if out, err := p.pull(t, c, mirroredHost+"/app:v1"); err == nil {
			t.Errorf("a pull without a client certificate succeeded, want an error: %s", out)
		}
		c.mirror(t, mirroredHost, "https://"+s.registry, "--ca", files.ca, "--client-cert", files.clientCert, "--client-key", files.clientKey)
		p.pullAndCompare(t, c, mirroredHost+"/app:v1", a.content(t, a.image.Digest))
	})
}

// With --no-fallback, mirror-config also sets `server` in hosts.toml to the mirror. This entry must
// have the certificates, too.
func TestNodesPullByMutualTLSWithoutFallback(t *testing.T) {
	a, files := newApp(t, "mutual tls without fallback"), newCertificates(t)
	s := serve(t, a.dir, "--root-repository", "", "--tls-cert", files.serverCert, "--tls-key", files.serverKey, "--client-ca", files.ca)
	everyWay(t, func(t *testing.T, c *containerd, p puller) {
		c.mirror(t, mirroredHost, "https://"+s.registry+"/below/here", "--no-fallback", "--override-path",
			"--ca", files.ca, "--client-cert", files.clientCert, "--client-key", files.clientKey)
		p.pullAndCompare(t, c, mirroredHost+"/app:v1", a.content(t, a.image.Digest))
	})
}

func TestNodesPullFromAMirrorBelowAPath(t *testing.T) {
	a := newApp(t, "path")
	s := serve(t, a.dir, "--root-repository", "")
	w := newWire(t, s)
	everyWay(t, func(t *testing.T, c *containerd, p puller) {
		c.mirror(t, mirroredHost, w.url+"/mirrors/a", "--override-path")
		p.pullAndCompare(t, c, mirroredHost+"/app:v1", a.content(t, a.image.Digest))
	})
	if asked := w.requests("/mirrors/a/v2/app/manifests/v1"); len(asked) == 0 {
		t.Errorf("got requests %v, want at least one with the path of the mirror", w.seen)
	}
}

// If the mirror does not have an image, containerd pulls it from the registry itself, or from the
// server that an operator wrote in hosts.toml. With --no-fallback, the pull fails.
func TestNodesFallBackToTheRegistry(t *testing.T) {
	mirrored, original := newApp(t, "mirrored"), newApp(t, "original")
	original.layout.Tag(original.image, "elsewhere")
	original.layout.Write()
	mirror := newWire(t, serve(t, mirrored.dir, "--root-repository", ""))
	upstream := newWire(t, serve(t, original.dir, "--root-repository", ""))
	want := original.content(t, original.image.Digest)
	everyWay(t, func(t *testing.T, c *containerd, p puller) {
		// containerd uses plain HTTP for the registry itself, because it is on loopback.
		reference := upstream.host() + "/app:elsewhere"
		c.mirror(t, upstream.host(), mirror.url, "--no-fallback")
		before := len(upstream.requests(""))
		if out, err := p.pull(t, c, reference); err == nil {
			t.Errorf("with --no-fallback, the pull succeeded, want an error, because the mirror does not have the image: %s", out)
		}
		if n := len(upstream.requests("")); n != before {
			t.Errorf("with --no-fallback, the registry itself got %d requests, want 0", n-before)
		}
		c.expectAbsent(t, original.image.Digest)

		c.mirror(t, upstream.host(), mirror.url)
		p.pullAndCompare(t, c, upstream.host()+"/app:v1", mirrored.content(t, mirrored.image.Digest))
		p.pullAndCompare(t, c, reference, want)

		c.write(t, "certs.d/"+mirroredHost+"/hosts.toml", fmt.Sprintf("# by hand\nserver = %q\n", upstream.url))
		c.mirror(t, mirroredHost, mirror.url)
		p.pullAndCompare(t, c, mirroredHost+"/app:elsewhere", want)
	})
	for _, a := range mirror.requests("/app/manifests/elsewhere") {
		if a.status != 404 {
			t.Errorf("got the exchange %+v with the mirror for the missing image, want status 404", a)
		}
	}
	if len(mirror.requests("/app/manifests/elsewhere")) == 0 {
		t.Error("the mirror got no request for the missing image, want at least one")
	}
}
