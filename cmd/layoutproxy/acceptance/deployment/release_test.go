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

// goreleaser's loader, which refuses unknown keys, accepts .goreleaser.yaml. The release is for the
// systems and package formats in docs/release.md.
func TestReleaseConfiguration(t *testing.T) {
	project, err := config.Load(filepath.Join(projectDir, ".goreleaser.yaml"))
	must(t, err)
	if len(project.Builds) != 1 || len(project.Archives) != 1 {
		t.Fatalf("goreleaser makes %d builds and %d archives, want one of each", len(project.Builds), len(project.Archives))
	}
	build := project.Builds[0]
	if want := []string{"linux", "darwin", "windows"}; !slices.Equal(build.Goos, want) {
		t.Errorf("got operating systems %q, want %q", build.Goos, want)
	}
	if want := []string{"amd64", "arm64"}; !slices.Equal(build.Goarch, want) {
		t.Errorf("got architectures %q, want %q", build.Goarch, want)
	}
	if !slices.Contains(build.Env, "CGO_ENABLED=0") {
		t.Errorf("got build environment %q, want CGO_ENABLED=0, so that the program is static", build.Env)
	}
	if _, err := os.Stat(filepath.Join(projectDir, build.Main)); err != nil {
		t.Error(err)
	}
	if !project.Checksum.Disable {
		t.Error("got checksum.disable = false, want true: goreleaser's checksum file would not cover all files of the release")
	}
	checkVariables(t, strings.Join(build.Ldflags, " "))
	checkPackages(t, project)
	for _, file := range project.Archives[0].Files {
		checkSource(t, file.Source)
		if file.Info.MTime == "" || file.Info.Mode == 0 || file.Info.Owner == "" {
			t.Errorf("archives: %s has its time, mode or owner from the build machine, want fixed values", file.Source)
		}
	}
}

// checkPackages checks the configuration of the deb and rpm packages. Packages must not depend on
// the build machine.
func checkPackages(t *testing.T, project config.Project) {
	t.Helper()
	if len(project.NFPMs) != 1 {
		t.Fatalf("got %d package configurations, want 1", len(project.NFPMs))
	}
	p := project.NFPMs[0]
	if want := []string{"deb", "rpm"}; !slices.Equal(p.Formats, want) {
		t.Errorf("got package formats %q, want %q", p.Formats, want)
	}
	if p.MTime == "" || p.RPM.BuildHost == "" {
		t.Errorf("got time %q and build host %q, want both set", p.MTime, p.RPM.BuildHost)
	}
	for _, c := range p.Contents {
		checkSource(t, c.Source)
		if c.FileInfo.Mode == 0 {
			t.Errorf("packages: %s has its mode from the build machine, want a fixed mode", c.Source)
		}
	}
	for _, script := range []string{p.Scripts.PostInstall, p.Scripts.PreRemove, p.Scripts.PostRemove} {
		checkSource(t, script)
	}
}

// checkSource checks that a file of the release exists. It ignores files in .release, which
// deploy/release/build makes later.
func checkSource(t *testing.T, pattern string) {
	t.Helper()
	if strings.HasPrefix(pattern, ".release/") {
		return
	}
	if found, err := fileglob.Glob(pattern, fileglob.WithFs(os.DirFS(projectDir))); err != nil || len(found) == 0 {
		t.Errorf(".goreleaser.yaml refers to %s, but there is no such file: %v", pattern, err)
	}
}

// checkVariables checks that each variable in ldflags exists: the linker ignores unknown names.
func checkVariables(t *testing.T, ldflags string) {
	t.Helper()
	set := regexp.MustCompile(`-X main\.(\w+)=`).FindAllStringSubmatch(ldflags, -1)
	if len(set) != 2 {
		t.Fatalf("%q sets %d variables, want 2: version and commit", ldflags, len(set))
	}
	source, err := os.ReadFile(filepath.Join(projectDir, "cmd/layoutproxy/version.go"))
	must(t, err)
	for _, name := range set {
		if !regexp.MustCompile(`(?m)^\s*(var )?` + name[1] + `\s*=`).Match(source) {
			t.Errorf("version.go has no variable %s, but ldflags set it", name[1])
		}
	}
}
