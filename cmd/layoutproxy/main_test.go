package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/registry/registrytest"
)

// quickEnd is a value of GORACE, for the programs that tests start. Without it, each of the
// hundreds of programs sleeps for a second before it exits, so that the race detector sees late
// accesses.
const quickEnd = "atexit_sleep_ms=0"

func TestMain(m *testing.M) {
	if err := os.Setenv("GORACE", quickEnd); err != nil {
		panic(err)
	}
	testscript.Main(m, map[string]func(){"layoutproxy": main})
}

// TestScripts runs the scripts in testdata/script, which use the program as a user would. Each
// script tests one feature.
func TestScripts(t *testing.T) {
	sample, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("SAMPLE", sample+"/../../examples/bundle")
			env.Setenv("XDG_STATE_HOME", env.WorkDir+"/state")
			env.Setenv("GORACE", quickEnd)
			env.Setenv("D8", sample+"/testdata/d8")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"listening": addresses,
			"http":      request,
			"until":     until,
			"hangup":    hangUp,
			"exits":     exits,
			"registry":  runRegistry,
			"split":     split,
			"images":    writeImages,
		},
	})
}

// split is the script command `split ARCHIVE DIR LIMIT`. It splits an archive into chunks of LIMIT
// bytes, as d8 does, and puts them into DIR.
func split(ts *testscript.TestScript, _ bool, args []string) {
	data, err := os.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	limit, err := strconv.ParseInt(args[2], 10, 64)
	ts.Check(err)
	archive := filepath.Join(ts.MkAbs(args[1]), filepath.Base(args[0]))
	ts.Check(os.WriteFile(archive, data, 0o644))
	layouttest.Split(scriptTB{ts}, archive, limit)
}

// writeImages is the script command `images DIR|ARCHIVE PATH:TAG=NAME...`. It writes a tree or an
// archive with one image per tag. Equal names give equal images.
func writeImages(ts *testscript.TestScript, _ bool, args []string) {
	dir := ts.MkAbs(args[0])
	if strings.HasSuffix(dir, ".tar") {
		dir += ".tree"
	}
	tree := layouttest.New(scriptTB{ts}, dir)
	layouts := map[string]*layouttest.Layout{}
	for _, arg := range args[1:] {
		place, name, _ := strings.Cut(arg, "=")
		at, tag, _ := strings.Cut(place, ":")
		if layouts[at] == nil {
			layouts[at] = tree.Layout(at)
		}
		layouts[at].Tag(layouts[at].Image(layouttest.Image{Name: name, LayerSizes: []int64{5000}}), tag)
	}
	for _, l := range layouts {
		l.Write()
	}
	if archive, ok := strings.CutSuffix(dir, ".tree"); ok {
		tree.Archive(archive, layouttest.Archive{})
		ts.Check(os.RemoveAll(dir))
	}
}

// exits is the script command `exits STATUS COMMAND...`. It runs the command to its end, and fails
// if the exit status is not STATUS.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	err := ts.Exec(args[1], args[2:]...)
	status := 0
	var ended *exec.ExitError
	if errors.As(err, &ended) {
		status = ended.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if fmt.Sprint(status) != args[0] {
		ts.Fatalf("%q ended with status %d, want %s", args[1:], status, args[0])
	}
}

// runRegistry is the script command `registry NAME`. It starts a registry, and sets $NAME to its
// host and port.
func runRegistry(ts *testscript.TestScript, _ bool, args []string) {
	ts.Setenv(args[0], registrytest.New(scriptTB{ts}, registrytest.Options{}).Host)
}

type scriptTB struct{ *testscript.TestScript }

func (s scriptTB) Helper()           {}
func (s scriptTB) Error(args ...any) { s.Fatal(args...) }
func (s scriptTB) Fatal(args ...any) { s.Fatalf("%s", fmt.Sprint(args...)) }
func (s scriptTB) Cleanup(f func())  { s.Defer(f) }
func (s scriptTB) TempDir() string   { return s.MkAbs("temporary") }

// addresses is the script command `listening FILE`. It waits for an address file, and sets
// $registry and $admin to the addresses in it.
func addresses(ts *testscript.TestScript, _ bool, args []string) {
	file := ts.MkAbs(args[0])
	deadline := time.Now().Add(2 * time.Minute)
	for {
		data, err := os.ReadFile(file)
		if err == nil {
			for line := range strings.Lines(string(data)) {
				name, address, _ := strings.Cut(strings.TrimSpace(line), "=")
				ts.Setenv(name, address)
			}
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("reading the address file %s: got the error %v, want addresses", file, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// request is the script command `http METHOD URL STATUS`. It writes the headers and the body of the
// response to the file `answer`. It fails if the status is not STATUS.
func request(ts *testscript.TestScript, neg bool, args []string) {
	req, err := http.NewRequest(args[0], args[1], nil)
	ts.Check(err)
	client := &http.Client{Timeout: 2 * time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if neg {
		if err == nil {
			resp.Body.Close()
			ts.Fatalf("%s answers %s, want no answer", args[1], resp.Status)
		}
		return
	}
	ts.Check(err)
	defer resp.Body.Close()
	var b bytes.Buffer
	ts.Check(resp.Header.Write(&b))
	b.WriteString("\n")
	_, err = io.Copy(&b, resp.Body)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs("answer"), b.Bytes(), 0o644))
	if got := fmt.Sprint(resp.StatusCode); got != args[2] {
		ts.Fatalf("%s %s answers %s, want %s\n%s", args[0], args[1], resp.Status, args[2], b.String())
	}
}

// until is the script command `until URL STATUS [TEXT]`. It requests URL again and again until the
// response has that status, and TEXT in its body.
func until(ts *testscript.TestScript, _ bool, args []string) {
	text := strings.Join(args[2:], " ")
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		resp, err := http.Get(args[0])
		if err != nil {
			continue
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err == nil && fmt.Sprint(resp.StatusCode) == args[1] && strings.Contains(string(body), text) {
			return
		}
	}
	ts.Fatalf("%s: want an answer with status %s and the text %q within two minutes, got none", args[0], args[1], text)
}

// hangUp is the script command `hangup`. It sends SIGHUP to the program that was started last.
func hangUp(ts *testscript.TestScript, _ bool, _ []string) {
	commands := ts.BackgroundCmds()
	ts.Check(commands[len(commands)-1].Process.Signal(syscall.SIGHUP))
}
