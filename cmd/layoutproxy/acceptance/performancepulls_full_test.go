//go:build full

package acceptance

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// comparePulls pulls the same images with layoutproxy and with crane, and prints the times.
func comparePulls(t *testing.T, dir string, rounds int) {
	t.Helper()
	s := serve(t, dir, "--root-repository", "", "--cache-dir", t.TempDir())
	crane := tool(t, "crane")
	for _, repository := range []string{"small", "large"} {
		var images []string
		for _, tag := range strings.Fields(run(t, crane, "ls", "--insecure", s.registry+"/"+repository)) {
			images = append(images, s.registry+"/"+repository+":"+tag)
		}
		type way struct {
			name string
			args []string
		}
		ways := []way{
			{"crane, tarball", slices.Concat([]string{crane, "pull", "--insecure"}, images, []string{"{}/images.tar"})},
			{"crane, OCI layout", slices.Concat([]string{crane, "pull", "--insecure", "--format", "oci"}, images, []string{"{}"})},
		}
		for _, p := range comparedBuilds() {
			pull := []string{p.file, "pull", s.registry, "{}", "--plain-http", "--repository", repository}
			ways = append(ways, way{p.name + ", archive", pull}, way{p.name + ", tree", append(slices.Clone(pull), "--tree")})
		}
		wall, cpu := make([][]float64, len(ways)), make([][]float64, len(ways))
		for range rounds {
			for i, way := range ways {
				w, c := timed(t, way.args)
				wall[i], cpu[i] = append(wall[i], w), append(cpu[i], c)
			}
		}
		fmt.Printf("\npull of %s, %d images\n%-22s %8s %8s %8s %8s\n", repository, len(images), "", "wall s", "x crane", "CPU s", "x crane")
		for i, way := range ways {
			base := i % 2 // compare an archive with crane's tarball, and a tree with crane's layout
			fmt.Printf("%-22s %8.2f %8.2f %8.2f %8.2f\n", way.name, median(wall[i]), median(ratios(wall[i], wall[base])), median(cpu[i]), median(ratios(cpu[i], cpu[base])))
		}
	}
}

// timed runs a command, and returns its elapsed time and its processor time in seconds. In the
// arguments, it replaces {} with a new directory.
func timed(t *testing.T, args []string) (wall, cpu float64) {
	t.Helper()
	dir, err := os.MkdirTemp(t.TempDir(), "pull")
	must(t, err)
	args = slices.Clone(args)
	for i, a := range args {
		args[i] = strings.Replace(a, "{}", dir, 1)
	}
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	begin := time.Now()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", args[0], args[1], err, out)
	}
	wall = time.Since(begin).Seconds()
	must(t, os.RemoveAll(dir))
	return wall, (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
}
