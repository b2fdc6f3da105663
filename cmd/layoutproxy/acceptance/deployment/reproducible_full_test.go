//go:build full

package deployment

import (
	"bytes"
	"debug/elf"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chart/loader"
)

// maxProgram is the maximum size of a released program, in bytes.
const maxProgram = 40 << 20

// Two builds of one commit in different directories give identical files. A release contains
// packages, an image, a chart and signed checksums. The test builds the last commit, because
// goreleaser reads the version from git.
func TestReleaseIsReproducible(t *testing.T) {
	key, public := throwawayKey(t)
	short, long := t.TempDir(), filepath.Join(t.TempDir(), "a directory with a longer name")
	a, b := buildRelease(t, short, key, "022"), buildRelease(t, long, key, "077")
	names := filesIn(t, a)
	if other := filesIn(t, b); !slices.Equal(names, other) {
		t.Fatalf("got different file names from the two builds, want the same:\n%q\nand\n%q", names, other)
	}
	for _, name := range names {
		if !bytes.Equal(read(t, a, name), read(t, b, name)) {
			t.Errorf("%s differs between the two builds, want identical files", name)
		}
	}
	checkSignature(t, a, public)
	checkProvenance(t, a, names)
	checkDeb(t, filepath.Join(a, find(t, names, "_amd64.deb")))
	checkImage(t, filepath.Join(a, find(t, names, "_image.tar")))
	checkChart(t, filepath.Join(a, find(t, names, ".tgz")))
	for _, suffix := range []string{"_arm64.deb", ".x86_64.rpm", ".aarch64.rpm", "_linux_amd64.tar.gz", "_windows_arm64.zip", "_darwin_arm64.tar.gz", ".cdx.json", "_chart.tar"} {
		find(t, names, suffix)
	}
}

// buildRelease builds a release of the last commit in a directory, with the given umask.
func buildRelease(t *testing.T, dir, key, umask string) string {
	t.Helper()
	project, err := filepath.Abs(projectDir)
	must(t, err)
	must(t, os.MkdirAll(dir, 0o755))
	source := filepath.Join(dir, "source")
	command(t, dir, "sh", "-c", "umask "+umask+" && git clone -q \"$0\" \"$1\"", project, source)
	cmd := exec.CommandContext(t.Context(), "sh", "-c", "umask "+umask+" && exec deploy/release/build ../release")
	cmd.Dir = source
	cmd.Env = append(os.Environ(), "LAYOUTPROXY_RELEASE_KEY="+key)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("deploy/release/build: %v\n%s", err, out)
	}
	return filepath.Join(dir, "release")
}

func throwawayKey(t *testing.T) (key, public string) {
	t.Helper()
	dir := t.TempDir()
	command(t, dir, "openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", "key")
	command(t, dir, "openssl", "pkey", "-in", "key", "-pubout", "-out", "public")
	return string(read(t, dir, "key")), filepath.Join(dir, "public")
}

// command runs a program in a directory and returns what it prints.
func command(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

func filesIn(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func read(t *testing.T, dir, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, name))
	must(t, err)
	return data
}

// find returns the only name with a suffix. It fails the test if there is no such name, or several.
func find(t *testing.T, names []string, suffix string) string {
	t.Helper()
	var found []string
	for _, name := range names {
		if strings.HasSuffix(name, suffix) {
			found = append(found, name)
		}
	}
	if len(found) != 1 {
		t.Fatalf("got %d files with the suffix %q, want 1, among %q", len(found), suffix, names)
	}
	return found[0]
}

func checkSignature(t *testing.T, dir, public string) {
	t.Helper()
	for _, name := range []string{"SHA256SUMS", find(t, filesIn(t, dir), ".intoto.json")} {
		command(t, dir, "openssl", "dgst", "-sha256", "-verify", public, "-signature", name+".sig", name)
	}
	command(t, dir, "sha256sum", "--strict", "--quiet", "-c", "SHA256SUMS")
	listed := string(read(t, dir, "SHA256SUMS"))
	for _, name := range filesIn(t, dir) {
		if !strings.HasPrefix(name, "SHA256SUMS") && !strings.HasSuffix(name, ".sig") && !strings.Contains(listed, "  "+name+"\n") {
			t.Errorf("SHA256SUMS does not list %s", name)
		}
	}
}

func checkProvenance(t *testing.T, dir string, names []string) {
	t.Helper()
	var statement struct {
		Type      string `json:"_type"`
		Subject   []struct{ Name string }
		Predicate struct {
			BuildDefinition struct {
				ResolvedDependencies []struct{ Digest map[string]string }
			}
		}
	}
	must(t, json.Unmarshal(read(t, dir, find(t, names, ".intoto.json")), &statement))
	head := strings.TrimSpace(command(t, projectDir, "git", "rev-parse", "HEAD"))
	sources := statement.Predicate.BuildDefinition.ResolvedDependencies
	if statement.Type != "https://in-toto.io/Statement/v1" || len(sources) == 0 || sources[0].Digest["gitCommit"] != head {
		t.Errorf("got provenance %+v, want one for the commit %s", statement, head)
	}
	if len(statement.Subject) < 15 {
		t.Errorf("the provenance lists %d files, want at least 15: %+v", len(statement.Subject), statement.Subject)
	}
}

// checkDeb checks the files, scripts and unit of a deb package.
func checkDeb(t *testing.T, name string) {
	t.Helper()
	root := t.TempDir()
	command(t, root, "dpkg-deb", "-x", name, ".")
	fields := command(t, root, "dpkg-deb", "-f", name)
	for _, want := range []string{"Package: layoutproxy", "Architecture: amd64", `Version: \d+\.\d+\.\d+.*`} {
		if !regexp.MustCompile("(?m)^" + want + "$").MatchString(fields) {
			t.Errorf("the deb package has these fields, want one that matches %q:\n%s", want, fields)
		}
	}
	if got := command(t, root, "dpkg-deb", "-I", name, "conffiles"); got != "/etc/layoutproxy/config.yaml\n" {
		t.Errorf("the deb package has these configuration files, want only /etc/layoutproxy/config.yaml:\n%s", got)
	}
	for _, script := range []string{"postinst", "prerm", "postrm"} {
		text := command(t, root, "dpkg-deb", "-I", name, script)
		must(t, os.WriteFile(filepath.Join(root, script), []byte(text), 0o600))
		command(t, root, "sh", "-n", script)
	}
	program := filepath.Join(root, "usr/bin/layoutproxy")
	checkStatic(t, program)
	command(t, root, program, "version")
	command(t, root, program, "serve", "--config", "etc/layoutproxy/config.yaml", "--check-config")
	for _, file := range []string{
		"usr/share/man/man1/layoutproxy.1.gz", "usr/share/man/man1/layoutproxy-serve.1.gz", "usr/share/bash-completion/completions/layoutproxy",
		"usr/share/fish/vendor_completions.d/layoutproxy.fish", "usr/share/zsh/vendor-completions/_layoutproxy",
		"usr/share/doc/layoutproxy/copyright", "usr/share/doc/layoutproxy/config.example.yaml", "usr/share/doc/layoutproxy/layoutproxy.cdx.json",
	} {
		if info, err := os.Stat(filepath.Join(root, file)); err != nil || info.Size() == 0 || info.Mode().Perm() != 0o644 {
			t.Errorf("%s: got %+v and error %v, want a file with content and mode 0644", file, info, err)
		}
	}
	command(t, root, "bash", "-n", "usr/share/bash-completion/completions/layoutproxy")
	checkUnit(t, root)
}

// checkUnit verifies the unit of an unpacked package with systemd-analyze. It first copies the
// system's targets and the program kill into root, because the unit needs them.
func checkUnit(t *testing.T, root string) {
	t.Helper()
	copyFile := func(from, to string, mode os.FileMode) {
		t.Helper()
		data, err := os.ReadFile(from)
		must(t, err)
		to = filepath.Join(root, to)
		must(t, os.MkdirAll(filepath.Dir(to), 0o755))
		must(t, os.WriteFile(to, data, mode))
	}
	for _, target := range []string{"sysinit", "basic", "shutdown", "network", "local-fs", "remote-fs", "multi-user"} {
		copyFile("/lib/systemd/system/"+target+".target", "usr/lib/systemd/system/"+target+".target", 0o644)
	}
	copyFile("/bin/kill", "bin/kill", 0o755)
	if said := command(t, root, "systemd-analyze", "verify", "--man=no", "--root="+root, "layoutproxy.service"); said != "" {
		t.Errorf("got this output from systemd-analyze verify, want none:\n%s", said)
	}
}

// checkStatic checks that a program is statically linked, has mode 0755 and is not too large.
func checkStatic(t *testing.T, name string) {
	t.Helper()
	info, err := os.Stat(name)
	must(t, err)
	if info.Size() > maxProgram || info.Mode().Perm() != 0o755 {
		t.Errorf("the program has %d bytes and mode %s, want at most %d bytes and mode 0755", info.Size(), info.Mode(), int64(maxProgram))
	}
	file, err := elf.Open(name)
	must(t, err)
	defer file.Close()
	for _, p := range file.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			t.Errorf("%s is dynamically linked, want a static program", name)
		}
	}
}

// checkImage runs layoutproxy verify and list on the image and the chart of the release.
func checkImage(t *testing.T, name string) {
	t.Helper()
	project, err := filepath.Abs(projectDir)
	must(t, err)
	program := filepath.Join(t.TempDir(), "layoutproxy")
	command(t, project, "go", "build", "-o", program, "./cmd/layoutproxy")
	for _, file := range []string{name, strings.Replace(name, "_image.tar", "_chart.tar", 1)} {
		command(t, project, program, "verify", "--root-repository", "layoutproxy", file)
		if list := command(t, project, program, "list", "--root-repository", "layoutproxy", file); strings.Count(list, "\n") != 1 {
			t.Errorf("layoutproxy list %s printed the following, want exactly one line:\n%s", file, list)
		}
	}
}

// checkChart checks the packaged chart with Helm's library.
func checkChart(t *testing.T, name string) {
	t.Helper()
	chart, err := loader.LoadFile(name)
	must(t, err)
	if err := chart.Validate(); err != nil {
		t.Error(err)
	}
	source := load(t)
	if len(chart.Templates) != len(source.Templates) || chart.Schema == nil {
		t.Errorf("the packaged chart has %d templates and a schema of %d bytes, want %d templates and a schema", len(chart.Templates), len(chart.Schema), len(source.Templates))
	}
}
