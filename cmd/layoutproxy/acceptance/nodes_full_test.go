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

// puller is a client that pulls with containerd.
type puller struct {
	name string
	// pull returns the client's output.
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

// pullers returns the clients of a release of containerd.
func (r release) pullers() []puller {
	all := []puller{{"ctr", byCtr()}, {"cri", byCRI}}
	if r.major >= 2 {
		all = append(all, puller{"ctr --local", byCtr("--local")})
	}
	return all
}

// everyWay runs a test for each release of containerd and each puller. Each run has its own
// containerd.
func everyWay(t *testing.T, test func(t *testing.T, c *containerd, p puller)) {
	t.Helper()
	for _, r := range releases(t) {
		for _, p := range r.pullers() {
			t.Run(r.name+"/"+p.name, func(t *testing.T) { test(t, startContainerd(t, r, nil), p) })
		}
	}
}

// pullAndCompare pulls an image, and compares the content store with the expected contents.
func (p puller) pullAndCompare(t *testing.T, c *containerd, reference string, want contents) {
	t.Helper()
	if out, err := p.pull(t, c, reference); err != nil {
		t.Fatalf("%s: %v\n%s", reference, err, out)
	}
	c.expectContents(t, reference, want)
}

// expectContents fails the test unless the content store has all of want.
func (c *containerd) expectContents(t *testing.T, what string, want contents) {
	t.Helper()
	for d, data := range want {
		if got := blob(t, c.store(), d); !bytes.Equal(got, data) {
			t.Errorf("%s: %s differs", what, d)
		}
	}
}

// expectAbsent fails the test if the content store contains a digest.
func (c *containerd) expectAbsent(t *testing.T, d digest.Digest) {
	t.Helper()
	if got := c.ctr(t, "ctr", "content", "ls", "-q") + c.ctr(t, criNamespace, "content", "ls", "-q"); strings.Contains(got, string(d)) {
		t.Errorf("%s was pulled", d)
	}
}

func TestNodesPull(t *testing.T) {
	a := newApp(t, "pulled")
	s := serve(t, a.dir, "--root-repository", "")
	everyWay(t, func(t *testing.T, c *containerd, p puller) {
		c.mirror(t, mirroredHost, "http://"+s.registry)
		p.pullAndCompare(t, c, mirroredHost+"/app:nested", a.content(t, a.nested.Digest))
		p.pullAndCompare(t, c, mirroredHost+"/app:v1", a.content(t, a.image.Digest))
		if out := run(t, program, "doctor", "http://"+s.registry, mirroredHost+"/app:nested"); !strings.Contains(out, "ok       containerd") {
			t.Errorf("%s", out)
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
			t.Errorf("pulled from a server with an untrusted certificate: %s", out)
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
			t.Errorf("pulled without a certificate: %s", out)
		}
		c.mirror(t, mirroredHost, "https://"+s.registry, "--ca", files.ca, "--client-cert", files.clientCert, "--client-key", files.clientKey)
		p.pullAndCompare(t, c, mirroredHost+"/app:v1", a.content(t, a.image.Digest))
	})
}

// With --no-fallback the mirror is also the server in hosts.toml, which then needs the
// certificates, too.
func TestNodesPullByMutualTLSWithoutFallback(t *testing.T) {
	a, files := newApp(t, "mutual tls without fallback"), newCertificates(t)
	s := serve(t, a.dir, "--root-repository", "", "--tls-cert", files.serverCert, "--tls-key", files.serverKey, "--client-ca", files.ca)
	everyWay(t, func(t *testing.T, c *containerd, p puller) {
		c.mirror(t, mirroredHost, "https://"+s.registry+"/below/here", "--no-fallback", "--override-path",
			"--ca", files.ca, "--client-cert", files.clientCert, "--client-key", files.clientKey)
		p.pullAndCompare(t, c, mirroredHost+"/app:v1", a.content(t, a.image.Digest))
	})
}

func TestNodesPullBelowAPath(t *testing.T) {
	a := newApp(t, "path")
	s := serve(t, a.dir, "--root-repository", "")
	w := newWire(t, s)
	everyWay(t, func(t *testing.T, c *containerd, p puller) {
		c.mirror(t, mirroredHost, w.url+"/mirrors/a", "--override-path")
		p.pullAndCompare(t, c, mirroredHost+"/app:v1", a.content(t, a.image.Digest))
	})
	if asked := w.requests("/mirrors/a/v2/app/manifests/v1"); len(asked) == 0 {
		t.Errorf("no request was below the path: %v", w.seen)
	}
}

// Content that the mirror does not have comes from the registry itself, or from the server in
// hosts.toml that an operator configured. With --no-fallback the pull fails.
func TestNodesFallBackToTheRegistry(t *testing.T) {
	mirrored, original := newApp(t, "mirrored"), newApp(t, "original")
	original.layout.Tag(original.image, "elsewhere")
	original.layout.Write()
	mirror := newWire(t, serve(t, mirrored.dir, "--root-repository", ""))
	upstream := newWire(t, serve(t, original.dir, "--root-repository", ""))
	want := original.content(t, original.image.Digest)
	everyWay(t, func(t *testing.T, c *containerd, p puller) {
		// The registry itself is on loopback, where containerd uses plain HTTP.
		reference := upstream.host() + "/app:elsewhere"
		c.mirror(t, upstream.host(), mirror.url, "--no-fallback")
		before := len(upstream.requests(""))
		if out, err := p.pull(t, c, reference); err == nil {
			t.Errorf("pulled an image that the mirror does not have: %s", out)
		}
		if n := len(upstream.requests("")); n != before {
			t.Errorf("the registry itself was asked %d times", n-before)
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
			t.Errorf("%+v", a)
		}
	}
	if len(mirror.requests("/app/manifests/elsewhere")) == 0 {
		t.Error("the mirror was not asked first")
	}
}
