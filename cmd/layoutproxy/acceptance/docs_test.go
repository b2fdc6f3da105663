package acceptance

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// notRun is the number of blocks per document that the test skips. The test runs all blocks fenced
// by ```sh. In ```console blocks it also compares the output of each command, where … stands for
// any text. It skips blocks whose fence ends in norun: REASON.
var notRun = map[string]int{
	"README.md":           3,
	"docs/containerd.md":  3,
	"examples/README.md":  1,
	"docs/deckhouse.md":   6, // these blocks need a cluster, or an address and certificates
	"docs/install.md":     5,
	"docs/prune.md":       1, // this block waits until tomorrow
	"docs/page.md":        2, // these blocks need another machine or a certificate
	"docs/pull.md":        1,
	"docs/release.md":     5, // these blocks need a release, its keys and credentials
	"docs/performance.md": 1, // this block takes minutes
	"docs/sizing.md":      1, // this block is a benchmark that takes minutes
	"docs/upgrade.md":     1,

	"docs/object-storage.md":  4, // these blocks need a cluster or an object store
	"docs/troubleshooting.md": 3, // these blocks need the reader's image, server or machine
}

// block is a fenced block of shell commands in a document.
type block struct {
	line    int
	reason  string // why the test skips the block; empty if the test runs it
	session bool   // whether this is a console block, with commands after "$ " and their output
	script  string
}

var fence = regexp.MustCompile("(?m)^( *)```(sh|console)(?: norun: (.+))?\n((?s:.*?)\n)?\\s*```$")

var opening = regexp.MustCompile("(?m)^ *```(sh|console)")

func blocks(page string) (all []block) {
	for _, m := range fence.FindAllStringSubmatchIndex(page, -1) {
		b := block{line: 1 + strings.Count(page[:m[0]], "\n"), session: page[m[4]:m[5]] == "console"}
		if m[6] >= 0 {
			b.reason = page[m[6]:m[7]]
		}
		if m[8] >= 0 {
			b.script = page[m[8]:m[9]]
		}
		all = append(all, b)
	}
	return all
}

// pages returns the texts of README.md, examples/README.md and all documents in docs, by name.
func pages(t *testing.T) map[string]string {
	t.Helper()
	names, err := filepath.Glob(projectDir + "/docs/*.md")
	must(t, err)
	texts := map[string]string{}
	for _, name := range append(names, projectDir+"/README.md", projectDir+"/examples/README.md") {
		relative, err := filepath.Rel(projectDir, name)
		must(t, err)
		texts[relative] = read(t, name)
	}
	return texts
}

func TestCommandsInDocs(t *testing.T) {
	texts := pages(t)
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		all := blocks(texts[name])
		if opened := len(opening.FindAllString(texts[name], -1)); opened != len(all) {
			t.Errorf("%s: %d blocks begin with ```sh or ```console, but only %d could be parsed", name, opened, len(all))
		}
		skipped := 0
		for _, b := range all {
			if b.reason != "" {
				skipped++
			}
		}
		if skipped != notRun[name] {
			t.Errorf("%s: the test skips %d blocks, want %d, as in notRun", name, skipped, notRun[name])
		}
		if len(all) > skipped {
			t.Run(name, func(t *testing.T) { newSandbox(t).run(name, all) })
		}
	}
}

// sandbox runs the blocks of a page one after the other. It replaces absolute paths with paths
// below root, and ports with free ports. Each layoutproxy serve runs in the background until the
// page starts the next one, or until all blocks have run.
type sandbox struct {
	*testing.T
	root  string
	text  *strings.Replacer
	other string // address of a test registry, which replaces otherRegistry
}

// otherRegistry is the address of the registry to which commands in the docs push.
const otherRegistry = "registry.example:5000"

// source is the path of the copy of the project in a sandbox. Each block runs in this directory.
const source = "/src"

func newSandbox(t *testing.T) *sandbox {
	t.Helper()
	s := &sandbox{T: t, root: t.TempDir()}
	free := freePorts(t, 3)
	rewritten := []string{"127.0.0.1:5000", free[0], "127.0.0.1:5580", free[1], "127.0.0.1:5001", free[1], otherRegistry, free[2]}
	s.other = free[2]
	for _, dir := range []string{"/srv/", "/media/", "/etc/", "/usr/local/", "/var/"} {
		rewritten = append(rewritten, dir, s.root+dir)
	}
	s.text = strings.NewReplacer(rewritten...)
	s.must("cp", "-R", abs(t, bundleDir), s.dir("/srv")+"/bundle")
	s.must("cp", "-R", abs(t, projectDir+"/cmd/layoutproxy/testdata/d8"), s.dir("/media")+"/bundle")
	s.must("sh", "-c", fmt.Sprintf("tar -C '%s' --exclude=./.git --exclude=./dist -cf - . | tar -C '%s' -xf -", abs(t, projectDir), s.dir(source)))
	s.write("/etc/layoutproxy/config.yaml", s.text.Replace(read(t, projectDir+"/deploy/systemd/config.yaml")), 0o644)
	s.write("/bin/layoutproxy", fmt.Sprintf(shim, program, s.root, free[0], free[1]), 0o755)
	for _, d := range []string{"/usr/local/bin", "/etc/systemd/system"} {
		s.dir(d)
	}
	return s
}

// shim is a script that replaces layoutproxy in a sandbox. Its command serve returns as soon as the
// server listens, and leaves the server running.
const shim = `#!/bin/sh
program='%s' root='%s'
export LAYOUTPROXY_LISTEN='%s' LAYOUTPROXY_ADMIN_LISTEN='%s' LAYOUTPROXY_CACHE_DIR="$root/cache"
case "$* " in
*"--check-config "* | *"--help "*) exec "$program" "$@" ;;
"serve "*) ;;
*)
	unset LAYOUTPROXY_LISTEN LAYOUTPROXY_ADMIN_LISTEN LAYOUTPROXY_CACHE_DIR
	exec "$program" "$@"
	;;
esac
stop-serving || exit
rm -f "$root/addresses" "$root/status"
(
	"$program" "$@" --address-file "$root/addresses" >"$root/log" 2>&1 &
	echo $! >"$root/pid"
	wait $!
	echo $? >"$root/status"
) >/dev/null 2>&1 &
while ! [ -e "$root/addresses" ]; do
	if [ -e "$root/status" ]; then cat "$root/log" >&2; exit 1; fi
	sleep 0.05
done
for try in 1 2 3 4 5 6 7 8 9 10; do
	if [ -s "$root/log" ]; then break; fi
	sleep 0.05
done
cat "$root/log"
`

// stopServing is a script that stops the server that shim started. It fails unless the server exits
// with status 0.
const stopServing = `#!/bin/sh
root='%s'
[ -e "$root/pid" ] || exit 0
kill -TERM "$(cat "$root/pid")" 2>/dev/null
while ! [ -s "$root/status" ]; do sleep 0.05; done
rm "$root/pid"
[ "$(cat "$root/status")" = 0 ] || { cat "$root/log" >&2; exit 1; }
`

func (s *sandbox) run(page string, all []block) {
	s.Helper()
	s.write("/bin/stop-serving", fmt.Sprintf(stopServing, s.root), 0o755)
	defer func() {
		if out, err := s.sh("stop-serving"); err != nil {
			s.Errorf("%s: serve failed: %v\n%s", page, err, out)
		}
	}()
	if slices.ContainsFunc(all, func(b block) bool { return strings.Contains(b.script, otherRegistry) }) {
		s.serveOther()
	}
	for _, b := range all {
		if b.reason != "" {
			continue
		}
		if b.session {
			s.session(page, b)
		} else if out, err := s.sh(s.text.Replace(b.script)); err != nil {
			s.Fatalf("%s:%d: %v\n%s\n%s", page, b.line, err, b.script, out)
		}
	}
}

// session runs the commands of a console block, and compares their output with the page.
func (s *sandbox) session(page string, b block) {
	s.Helper()
	for i, step := range strings.Split("\n"+b.script, "\n$ ") {
		command, shown, _ := strings.Cut(s.text.Replace(step), "\n")
		if i == 0 {
			if step != "" {
				s.Fatalf("%s:%d: the block does not begin with \"$ COMMAND\"", page, b.line)
			}
			continue
		}
		// serve needs no & here, because shim returns while the server runs.
		out, err := s.sh(strings.TrimSuffix(command, " &"))
		if err != nil {
			s.Fatalf("%s:%d: %s: %v\n%s", page, b.line, command, err, out)
		}
		want := strings.ReplaceAll(regexp.QuoteMeta(strings.TrimSpace(shown)), "…", "(?s:.*)")
		if !regexp.MustCompile("^" + want + "$").MatchString(strings.TrimSpace(out)) {
			s.Errorf("%s:%d: %s printed\n%s\nwant, as the page shows,\n%s", page, b.line, command, out, shown)
		}
	}
}

// serveOther runs an empty registry until the test of the page ends.
func (s *sandbox) serveOther() {
	s.Helper()
	cmd := exec.CommandContext(s.Context(), tool(s.T, "crane"), "registry", "serve", "--address", s.other)
	must(s.T, cmd.Start())
	s.Cleanup(func() { _ = cmd.Wait() }) // the registry is killed when the context ends
	must(s.T, healthy(s.Context(), "http://"+s.other+"/v2/", nil))
}

// sh runs a script and returns its output.
func (s *sandbox) sh(script string) (string, error) {
	ctx, cancel := context.WithTimeout(s.Context(), 3*time.Minute)
	if s.Context().Err() != nil { // the test has ended, but must still stop the server
		ctx, cancel = context.WithTimeout(context.Background(), time.Minute)
	}
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-eu", "-c", script)
	cmd.Dir = s.root + source
	cmd.Env = append(os.Environ(), "PATH="+s.root+"/bin:"+s.root+"/usr/local/bin:"+os.Getenv("PATH"))
	cmd.WaitDelay = time.Second
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

func (s *sandbox) dir(path string) string {
	s.Helper()
	must(s.T, os.MkdirAll(s.root+path, 0o755))
	return s.root + path
}

func (s *sandbox) write(path, text string, mode os.FileMode) {
	s.Helper()
	s.dir(filepath.Dir(path))
	must(s.T, os.WriteFile(s.root+path, []byte(text), mode))
}

func (s *sandbox) must(name string, args ...string) {
	s.Helper()
	if out, err := exec.CommandContext(s.Context(), name, args...).CombinedOutput(); err != nil {
		s.Fatalf("%s: %v\n%s", name, err, out)
	}
}
