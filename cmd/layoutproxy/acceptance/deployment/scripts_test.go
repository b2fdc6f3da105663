package deployment

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// fakeGo replaces go for scripts. It builds nothing, and writes small files where the scripts
// expect results.
const fakeGo = `#!/bin/sh -eu
for last; do :; done
case "$*" in
build*) printf '#!/bin/sh\n' >.release/layoutproxy && chmod +x .release/layoutproxy ;;
*" -tags man "*) echo page >"$last/layoutproxy.1" ;;
*./.ci/licences*) echo sbom >"$last" ;;
*./deploy/release*)
	while [ "$1" != -out ]; do shift; done
	mkdir "$2" && cd "$2" && echo program >program && sha256sum program >SHA256SUMS
	;;
*" -version"*) echo 'DB updated: today' ;;
esac
`

// fakeProject returns a directory with scripts of the project, and an environment in which they run
// without git, go and goreleaser.
func fakeProject(t *testing.T) (dir string, env []string) {
	t.Helper()
	dir, bin, cache := t.TempDir(), t.TempDir(), t.TempDir()
	write := func(name, content string) {
		t.Helper()
		must(t, os.MkdirAll(filepath.Dir(name), 0o755))
		must(t, os.WriteFile(name, []byte(content), 0o755))
	}
	const tools = "cmd/layoutproxy/acceptance/deployment/go.mod"
	for _, name := range []string{"deploy/release/build", ".ci/supply", "deploy/systemd/layoutproxy.service", tools} {
		data, err := os.ReadFile(filepath.Join(projectDir, name))
		must(t, err)
		write(filepath.Join(dir, name), string(data))
		if name == tools {
			version := regexp.MustCompile(`(?m)^\tgithub.com/goreleaser/goreleaser/v2 (\S+)$`).FindSubmatch(data)
			write(filepath.Join(cache, "layoutproxy-ci", "goreleaser-"+string(version[1]), "goreleaser"), "#!/bin/sh\nrm -rf dist && mkdir dist\n")
		}
	}
	write(filepath.Join(bin, "go"), fakeGo)
	write(filepath.Join(bin, "git"), "#!/bin/sh\necho 1\n")
	return dir, append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "XDG_CACHE_HOME="+cache)
}

// Scripts write to a directory that is relative to the caller's directory, not to the project's.
// They delete nothing there.
func TestScriptsWriteWhereTheCallerIs(t *testing.T) {
	project, env := fakeProject(t)
	at := filepath.Join(t.TempDir(), "a directory")
	must(t, os.MkdirAll(filepath.Join(at, "full"), 0o755))
	must(t, os.MkdirAll(filepath.Join(at, "empty"), 0o755))
	must(t, os.MkdirAll(filepath.Join(project, "docs"), 0o755))
	for _, name := range []string{filepath.Join(at, "full", "precious"), filepath.Join(project, "docs", "precious")} {
		must(t, os.WriteFile(name, nil, 0o600))
	}
	for _, c := range []struct {
		script, args, want string // want is a file below at or, with "./", below the project; empty means exit status 2
	}{
		{"deploy/release/build", "--unsigned docs", "docs/SHA256SUMS"},
		{"deploy/release/build", "--unsigned empty", "empty/SHA256SUMS"},
		{"deploy/release/build", "--unsigned", "./dist/release/SHA256SUMS"},
		{"deploy/release/build", "--unsigned full", ""},
		{"deploy/release/build", "--unsigned .", ""},
		{"deploy/release/build", "other --unsigned", ""},
		{"deploy/release/build", "--help", ""},
		{".ci/supply", "list", "list/layoutproxy.cdx.json"},
	} {
		cmd := exec.CommandContext(t.Context(), filepath.Join(project, c.script), strings.Fields(c.args)...)
		cmd.Dir, cmd.Env = at, env
		out, err := cmd.CombinedOutput()
		if c.want == "" {
			if cmd.ProcessState.ExitCode() != 2 {
				t.Errorf("%s %s: got error %v, want exit status 2:\n%s", c.script, c.args, err, out)
			}
			continue
		}
		want := filepath.Join(at, c.want)
		if strings.HasPrefix(c.want, "./") {
			want = filepath.Join(project, c.want)
		}
		if _, missing := os.Stat(want); err != nil || missing != nil {
			t.Errorf("%s %s: got error %v and %v, want the file %s:\n%s", c.script, c.args, err, missing, want, out)
		}
	}
	for _, name := range []string{filepath.Join(at, "full", "precious"), filepath.Join(project, "docs", "precious")} {
		if _, err := os.Stat(name); err != nil {
			t.Errorf("a script has deleted a file of the user: %v", err)
		}
	}
}

// If the name of a script is relative, a variable CDPATH of the user does not lead it to another project.
func TestScriptsIgnoreCDPATH(t *testing.T) {
	project, env := fakeProject(t)
	other, _ := fakeProject(t)
	cmd := exec.CommandContext(t.Context(), "deploy/release/build", "--unsigned")
	cmd.Dir, cmd.Env = project, append(env, "CDPATH="+other)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("deploy/release/build: %v\n%s", err, out)
	}
	if _, err := os.Stat(filepath.Join(project, "dist/release/SHA256SUMS")); err != nil {
		t.Errorf("the script has built no release of its project: %v", err)
	}
	if _, err := os.Stat(filepath.Join(other, "dist")); err == nil {
		t.Error("the script has built another project, to which CDPATH leads")
	}
}

// The full tier finds the fuzz targets of a project whose path contains a space.
func TestFuzzTargetsAreFound(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(projectDir, ".ci/test"))
	must(t, err)
	loop := regexp.MustCompile(`(?ms)^    listing=.*?^    done <<<.*?$`).FindString(string(text))
	dir := filepath.Join(t.TempDir(), "a project")
	must(t, os.Mkdir(dir, 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module example.com/a\n"), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "a_test.go"), []byte("package a\n\nfunc FuzzRead(f *testing.F) {}\n"), 0o600))
	cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", "step() { :; }\ncheck() { echo \"$*\"; }\n"+loop)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil || string(out) != "fuzz example.com/a FuzzRead\n" {
		t.Errorf("the loop over the fuzz targets ran %q, error %v; want fuzz example.com/a FuzzRead:\n%s", out, err, loop)
	}
}

// The index of the vulnerability database lists each report without the optional field "fixed".
// With "fixed" 0.305.2, govulncheck would not read this report for version 0.310.0. The ranges are
// those of GO-2026-5264, without the last fix (golang.org/x/vulndb, data/osv).
func TestVulnerabilityAfterTheLatestFixIsFound(t *testing.T) {
	reports, out := t.TempDir(), t.TempDir()
	const ranges = `[{"type":"SEMVER","events":[{"introduced":"0"},{"fixed":"0.305.2"},{"introduced":"0.306.0"}]}]`
	for i := range 1000 { // the program refuses a smaller database
		report := fmt.Sprintf(`{"id":"GO-2026-%04d","modified":"2026-01-01T00:00:00Z","affected":[{"package":{"name":"example.com/%d"},"ranges":%s}]}`, i, i, ranges)
		must(t, os.WriteFile(filepath.Join(reports, fmt.Sprintf("GO-2026-%04d.json", i)), []byte(report), 0o600))
	}
	cmd := exec.CommandContext(t.Context(), "go", "run", "./.ci/vulndb", reports, out)
	cmd.Dir = projectDir
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go run ./.ci/vulndb: %v\n%s", err, said)
	}
	index, err := os.ReadFile(filepath.Join(out, "index", "modules.json"))
	must(t, err)
	const want = `[{"path":"example.com/0","vulns":[{"id":"GO-2026-0000","modified":"2026-01-01T00:00:00Z"}]},`
	if !strings.HasPrefix(string(index), want) {
		t.Errorf("the index begins with %.200s, want %s", index, want)
	}
}
