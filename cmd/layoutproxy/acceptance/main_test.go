package acceptance

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// projectDir is the directory of the main module. bundleDir is the directory of the sample bundle.
const (
	projectDir = "../../.."
	bundleDir  = projectDir + "/examples/bundle"
)

// program is the path of layoutproxy, which TestMain builds.
var program string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "layoutproxy-acceptance-")
	if err == nil {
		program = filepath.Join(dir, "layoutproxy")
		err = build("./cmd/layoutproxy", program)
	}
	status := 1
	if err != nil {
		fmt.Fprintln(os.Stderr, "acceptance:", err)
	} else {
		status = m.Run()
	}
	os.RemoveAll(dir)
	os.Exit(status)
}

// build builds a program in the main module, because this module's go.mod may select other versions
// of dependencies. It uses -buildvcs=false, because git fails in a clone that another user owns. No
// test needs the commit.
func build(pkg, output string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	output, err := filepath.Abs(output)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-o", output, pkg)
	cmd.Dir = projectDir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build %s: %w\n%s", pkg, err, out)
	}
	return nil
}
