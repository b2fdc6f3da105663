package deployment

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goreleaser/fileglob"
	"github.com/goreleaser/goreleaser/v2/pkg/config"
)

const projectDir = "../../../.."

// goreleaser takes the file, which its loader refuses for any key that it does not
// know, and makes of it what is promised.
func TestRelease(t *testing.T) {
	project, err := config.Load(filepath.Join(projectDir, ".goreleaser.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if len(project.Builds) != 1 || len(project.Archives) != 1 {
		t.Fatalf("%d builds and %d archives, want one of each", len(project.Builds), len(project.Archives))
	}
	build := project.Builds[0]
	if want := []string{"linux", "darwin", "windows"}; !slices.Equal(build.Goos, want) {
		t.Errorf("systems: %q, want %q", build.Goos, want)
	}
	if want := []string{"amd64", "arm64"}; !slices.Equal(build.Goarch, want) {
		t.Errorf("architectures: %q, want %q", build.Goarch, want)
	}
	if !slices.Contains(build.Env, "CGO_ENABLED=0") {
		t.Errorf("not static: %q", build.Env)
	}
	if _, err := os.Stat(filepath.Join(projectDir, build.Main)); err != nil {
		t.Error(err)
	}
	if len(project.SBOMs) != 1 || project.SBOMs[0].Artifacts != "archive" || project.Checksum.Algorithm != "sha256" {
		t.Errorf("SBOMs %+v, checksums %+v", project.SBOMs, project.Checksum)
	}
	checkVariables(t, strings.Join(build.Ldflags, " "))
	for _, file := range project.Archives[0].Files {
		if found, err := fileglob.Glob(file.Source, fileglob.WithFs(os.DirFS(projectDir))); err != nil || len(found) == 0 {
			t.Errorf("archives have %s, which is nowhere: %v", file.Source, err)
		}
	}
}

// checkVariables checks that each variable exists: the linker ignores unknown names.
func checkVariables(t *testing.T, ldflags string) {
	t.Helper()
	set := regexp.MustCompile(`-X main\.(\w+)=`).FindAllStringSubmatch(ldflags, -1)
	if len(set) != 2 {
		t.Fatalf("%q sets %d variables, want version and commit", ldflags, len(set))
	}
	source, err := os.ReadFile(filepath.Join(projectDir, "cmd/layoutproxy/version.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range set {
		if !regexp.MustCompile(`(?m)^\s*(var )?` + name[1] + `\s*=`).Match(source) {
			t.Errorf("there is no variable %s", name[1])
		}
	}
}
