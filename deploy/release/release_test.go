package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	reader "github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

const commitTime = "1790000000"

// dist writes a directory like the one that goreleaser writes, but with small files instead of
// programs and packages. It returns options for a release from this directory.
func dist(t *testing.T, version string) options {
	t.Helper()
	dir := t.TempDir()
	put := func(name, content string) string {
		t.Helper()
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	var all []artifact
	for _, arch := range []string{"arm64", "amd64"} {
		all = append(all,
			artifact{"layoutproxy", put("linux_"+arch+"/layoutproxy", "program for "+arch), "linux", arch, "Binary"},
			artifact{"layoutproxy.exe", put("windows_"+arch+"/layoutproxy.exe", "for windows"), "windows", arch, "Binary"},
			artifact{"layoutproxy_" + arch + ".deb", put(arch+".deb", "package for "+arch), "linux", arch, "Linux Package"})
	}
	all = append(all, artifact{Name: "metadata.json", Path: filepath.Join(dir, "metadata.json"), Type: "Metadata"})
	for name, v := range map[string]any{"artifacts.json": all, "metadata.json": map[string]string{"version": version, "tag": "v" + version, "commit": strings.Repeat("ab", 20)}} {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		put(name, string(data))
	}
	return options{top: "../..", dist: dir, out: filepath.Join(t.TempDir(), "release"), sbom: put("sbom.json", "{}"), goreleaser: "v2", snapshot: true}
}

func assembled(t *testing.T, o options) map[string][]byte {
	t.Helper()
	if err := assemble(o); err != nil {
		t.Fatal(err)
	}
	all, err := filepath.Glob(o.out + "/*")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for _, name := range all {
		if files[filepath.Base(name)], err = os.ReadFile(name); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// SHA256SUMS lists all other files of a release, and the provenance lists each file that was built.
func TestAssemble(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", commitTime)
	files := assembled(t, dist(t, "1.2.3"))
	var names []string
	for name, data := range files {
		names = append(names, name)
		if name == "SHA256SUMS" {
			continue
		}
		sum := sha256.Sum256(data)
		if line := hex.EncodeToString(sum[:]) + "  " + name + "\n"; !strings.Contains(string(files["SHA256SUMS"]), line) {
			t.Errorf("SHA256SUMS does not contain the line %q", line)
		}
	}
	slices.Sort(names)
	want := []string{
		"SHA256SUMS", "layoutproxy-chart-1.2.3.tgz", "layoutproxy_1.2.3.cdx.json", "layoutproxy_1.2.3.intoto.json",
		"layoutproxy_1.2.3_chart.tar", "layoutproxy_1.2.3_image.tar", "layoutproxy_amd64.deb", "layoutproxy_arm64.deb",
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("the release has the wrong files (-want +got):\n%s", diff)
	}
	var s statement
	if err := json.Unmarshal(files["layoutproxy_1.2.3.intoto.json"], &s); err != nil {
		t.Fatal(err)
	}
	if len(s.Subject) != len(want)-2 || s.Predicate.BuildDefinition.ExternalParameters["ref"] != "v1.2.3" {
		t.Errorf("got provenance %+v, want the ref v1.2.3, and all files except SHA256SUMS and the provenance itself", s)
	}
	for _, subject := range s.Subject {
		if sum := sha256.Sum256(files[subject.Name]); hex.EncodeToString(sum[:]) != subject.Digest["sha256"] {
			t.Errorf("the provenance lists a wrong digest for %s, want the SHA-256 of the file", subject.Name)
		}
	}
}

// A release that is assembled twice from the same input, in different directories, has the same
// bytes, including the signatures.
func TestAssembleIsReproducible(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", commitTime)
	key, _ := opensslKey(t, "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
	a, b := dist(t, "1.2.3"), dist(t, "1.2.3")
	a.key, b.key = key, key
	if diff := cmp.Diff(assembled(t, a), assembled(t, b)); diff != "" {
		t.Error("two releases from the same input differ (-first +second):\n" + diff)
	}
}

// A release is refused without a key, without its section in CHANGELOG.md, or without the time of
// its commit.
func TestAssembleRefusesMissingInput(t *testing.T) {
	key, _ := opensslKey(t, "-algorithm", "ED25519")
	for _, c := range []struct{ name, date, key, want string }{
		{"no time", "", key, "SOURCE_DATE_EPOCH"},
		{"no key", commitTime, "", "LAYOUTPROXY_RELEASE_KEY"},
		{"no section", commitTime, key, "CHANGELOG.md has no section for version 77.0.0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("SOURCE_DATE_EPOCH", c.date)
			o := dist(t, "77.0.0")
			o.snapshot, o.key = false, c.key
			if err := assemble(o); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("assemble: got error %v, want one that contains %q", err, c.want)
			}
			if _, err := os.Stat(o.out); err == nil {
				t.Error("assemble failed, but wrote an output directory, want none")
			}
		})
	}
}

// untar extracts an archive to a new directory.
func untar(t *testing.T, data []byte) string {
	t.Helper()
	dir := t.TempDir()
	for r := tar.NewReader(bytes.NewReader(data)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return dir
		} else if err != nil {
			t.Fatal(err)
		}
		if h.ModTime.Unix() != 1790000000 {
			t.Errorf("entry %s has the modification time %s, want the time of the commit", h.Name, h.ModTime)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(dir, h.Name)
		if h.Typeflag == tar.TypeDir {
			err = os.MkdirAll(name, 0o755)
		} else if err = os.MkdirAll(filepath.Dir(name), 0o755); err == nil {
			err = os.WriteFile(name, content, os.FileMode(h.Mode))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// The release image passes the validation of go-containerregistry, and contains the program for
// each of the two architectures.
func TestReleaseImageContainsProgram(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", commitTime)
	files := assembled(t, dist(t, "1.2.3+x"))
	index, err := reader.ImageIndexFromPath(untar(t, files["layoutproxy_1.2.3+x_image.tar"]))
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(index); err != nil {
		t.Error(err)
	}
	top, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"org.opencontainers.image.ref.name": "1.2.3_x", "io.containerd.image.name": "docker.io/library/layoutproxy:1.2.3_x"}
	if diff := cmp.Diff(want, top.Manifests[0].Annotations); diff != "" || len(top.Manifests) != 1 {
		t.Errorf("index.json has %d manifests, want 1; annotations of the first (-want +got):\n%s", len(top.Manifests), diff)
	}
	images, err := index.ImageIndex(top.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	children, err := images.IndexManifest()
	if err != nil || len(children.Manifests) != 2 {
		t.Fatalf("got image index %+v and error %v, want 2 manifests", children, err)
	}
	for i, arch := range []string{"amd64", "arm64"} {
		m := children.Manifests[i]
		if m.Platform.OS != "linux" || m.Platform.Architecture != arch {
			t.Errorf("the image index lists platform %s, want linux/%s", m.Platform, arch)
		}
		image, err := images.Image(m.Digest)
		if err != nil {
			t.Fatal(err)
		}
		layers, err := image.Layers()
		if err != nil || len(layers) != 1 {
			t.Fatalf("the image has %d layers, want 1; error %v", len(layers), err)
		}
		content, err := layers[0].Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(content)
		if err != nil {
			t.Fatal(err)
		}
		root := untar(t, data)
		if got, err := os.ReadFile(root + "/layoutproxy"); err != nil || string(got) != "program for "+arch {
			t.Errorf("/layoutproxy contains %q, error %v; want the program for %s", got, err, arch)
		}
		if got, err := os.ReadFile(root + "/etc/ssl/certs/ca-certificates.crt"); err != nil || bytes.Count(got, []byte("BEGIN CERTIFICATE")) < 50 {
			t.Errorf("ca-certificates.crt has %d bytes, error %v; want at least 50 certificates", len(got), err)
		}
	}
}

// The image of a release and the image of the Dockerfile have the same configuration.
func TestImageMatchesDockerfile(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("../../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(strings.ReplaceAll(string(data), "\\\n", ""), "FROM scratch\n")
	c := newConfig(release{Version: "1"})
	words := func(instruction string) []string {
		found := regexp.MustCompile(`(?m)^` + instruction + ` (.*)$`).FindStringSubmatch(text)
		if found == nil {
			t.Fatalf("the Dockerfile contains no %s instruction", instruction)
		}
		return strings.Fields(found[1])
	}
	list := func(instruction string) (all []string) {
		if err := json.Unmarshal([]byte(strings.Join(words(instruction), " ")), &all); err != nil {
			t.Fatal(err)
		}
		return all
	}
	var ports []string
	for _, port := range words("EXPOSE") {
		ports = append(ports, port+"/tcp")
	}
	check := regexp.MustCompile(`--interval=(\S+) --timeout=(\S+) --start-period=(\S+)\s+CMD (.*)`).FindStringSubmatch(strings.Join(words("HEALTHCHECK"), " "))
	if check == nil {
		t.Fatal("cannot parse the HEALTHCHECK instruction of the Dockerfile")
	}
	var command []string
	if err := json.Unmarshal([]byte(check[4]), &command); err != nil {
		t.Fatal(err)
	}
	type facts struct {
		User                   []string
		Env, Entrypoint, Cmd   []string
		Ports, Volumes, Health []string
	}
	keys := func(m map[string]struct{}) []string { return slices.Sorted(maps.Keys(m)) }
	h := c.Healthcheck
	want := facts{words("USER"), words("ENV"), list("ENTRYPOINT"), list("CMD"), ports, words("VOLUME"), append([]string{check[1], check[2], check[3], "CMD"}, command...)}
	for i, s := range want.Health[:3] {
		d, err := time.ParseDuration(s)
		if err != nil {
			t.Fatal(err)
		}
		want.Health[i] = d.String()
	}
	got := facts{[]string{c.User}, c.Env, c.Entrypoint, c.Cmd, keys(c.ExposedPorts), keys(c.Volumes), append([]string{h.Interval.String(), h.Timeout.String(), h.StartPeriod.String()}, h.Test...)}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the configurations differ (-Dockerfile +image):\n%s", diff)
	}
}

// The packaged chart has the version of the release, and its layout has Helm's media types. Another
// test, in cmd/layoutproxy/acceptance/deployment, reads the package with Helm's own library.
func TestChartVersionAndMediaTypes(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", commitTime)
	files := assembled(t, dist(t, "1.2.3"))
	z, err := gzip.NewReader(bytes.NewReader(files["layoutproxy-chart-1.2.3.tgz"]))
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	dir := untar(t, data)
	head, err := os.ReadFile(dir + "/layoutproxy/Chart.yaml")
	if err != nil || !strings.Contains(string(head), "\nversion: 1.2.3\n") || !strings.Contains(string(head), "appVersion: 1.2.3\n") {
		t.Errorf("Chart.yaml: got error %v and the following, want version and appVersion 1.2.3\n%s", err, head)
	}
	if templates, _ := filepath.Glob(dir + "/layoutproxy/templates/*"); len(templates) < 5 {
		t.Errorf("the packaged chart has the templates %q, want at least 5", templates)
	}
	index, err := reader.ImageIndexFromPath(untar(t, files["layoutproxy_1.2.3_chart.tar"]))
	if err != nil {
		t.Fatal(err)
	}
	top, err := index.IndexManifest()
	if err != nil || len(top.Manifests) != 1 {
		t.Fatalf("got index.json %+v and error %v, want 1 manifest", top, err)
	}
	image, err := index.Image(top.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	m, err := image.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	if m.Config.MediaType != mediaTypeChartConfig || len(m.Layers) != 1 || m.Layers[0].MediaType != mediaTypeChart {
		t.Errorf("the chart's layout has the manifest %+v, want a config and one layer with Helm's media types", m)
	}
	content, err := image.LayerByDigest(m.Layers[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	r, err := content.Compressed()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, files["layoutproxy-chart-1.2.3.tgz"]) {
		t.Errorf("got a layer of %d bytes, error %v; want the packaged chart", len(got), err)
	}
}
