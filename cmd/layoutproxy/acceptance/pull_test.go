package acceptance

import (
	"maps"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// TestPullMatchesOtherClients pulls the sample with layoutproxy, and compares the result with the
// files of the sample. It also checks what crane and skopeo pull from the new bundle.
func TestPullMatchesOtherClients(t *testing.T) {
	crane, skopeo := tool(t, "crane"), packaged(t, "skopeo")
	images, source := sample(t), serve(t, bundleDir)
	tree, archives := t.TempDir(), t.TempDir()
	var args []string
	for _, name := range repositories(images) {
		args = append(args, "--repository", below(name))
	}
	run(t, program, append([]string{"pull", source.registry + "/" + sampleRoot, tree, "--tree"}, args...)...)
	run(t, program, append([]string{"pull", source.registry + "/" + sampleRoot, archives}, args...)...)
	copied := serve(t, archives, "--strict", "--root-repository", sampleRoot)
	for _, i := range images {
		l := layout(filepath.Join(tree, below(i.repository)))
		got := contentOf(t, l, i.digest)
		if !i.discovery() {
			contentOf(t, i.layout(), i.digest).compare(t, i.name(), got)
		}
		if got := strings.TrimSpace(run(t, crane, "digest", i.reference(copied))); got != i.digest.String() {
			t.Errorf("%s: crane reports the digest %s in the new bundle, want %s", i.name(), got, i.digest)
		}
		if !strings.HasSuffix(i.tag, ".att") { // crane cannot validate attestations
			run(t, crane, "validate", "--remote", i.reference(copied))
		}
	}
	// The pull also got the untagged referrer of an image.
	contentOf(t, layout(filepath.Join(tree, "install")), sbom)

	for _, name := range []string{sampleRoot + "/install", sampleRoot + "/modules/console"} {
		var synced []map[string]string
		for _, s := range []server{source, copied} {
			dir := t.TempDir()
			run(t, skopeo, "--insecure-policy", "sync", "--all", "--src-tls-verify=false", "--src", "docker", "--dest", "dir", s.registry+"/"+name, dir)
			synced = append(synced, layouttest.ReadFiles(t, dir))
		}
		if !maps.Equal(synced[0], synced[1]) || len(synced[0]) == 0 {
			t.Errorf("%s: skopeo synced %d files from the source and %d from the new bundle, want the same files, at least one", name, len(synced[0]), len(synced[1]))
		}
	}
}

// TestContainerdPullsPulledBundle serves d8's bundle, and pulls a new bundle from it with
// layoutproxy. containerd then pulls from the new bundle.
func TestContainerdPullsPulledBundle(t *testing.T) {
	source := serve(t, field, "--root-repository", "deckhouse/ee")
	bundle := t.TempDir()
	run(t, program, "pull", source.registry+"/deckhouse/ee", bundle)
	run(t, program, "verify", bundle)
	pulled := serve(t, bundle, "--strict", "--root-repository", "deckhouse/ee")
	c := startContainerd(t, packagedRelease(t), nil)
	c.mirror(t, mirroredHost, "http://"+pulled.registry)

	lines := strings.Split(strings.TrimSpace(run(t, program, "list", "--root-repository", "deckhouse/ee", bundle)), "\n")
	if len(lines) < 100 {
		t.Fatalf("the new bundle has %d tags, want at least 100", len(lines))
	}
	tried := map[string]bool{} // pull one tag per repository: all tags would take a minute
	for n, line := range lines {
		fields := strings.Split(line, "\t") // fields are repository, tag, digest and size
		if tried[fields[0]] {
			continue
		}
		tried[fields[0]] = true
		reference := mirroredHost + "/" + fields[0] + ":" + fields[1]
		c.ctr(t, namespace(n), "content", "fetch", "--all-platforms", "--hosts-dir", c.certs, reference)
		contentOf(t, c.store(), digest.Digest(fields[2]))
	}
}

// below returns a repository's path below sampleRoot ("." for sampleRoot itself), or else below sampleParent.
func below(name string) string {
	if name == sampleRoot {
		return "."
	}
	if path, ok := strings.CutPrefix(name, sampleRoot+"/"); ok {
		return path
	}
	return strings.TrimPrefix(name, sampleParent+"/")
}
