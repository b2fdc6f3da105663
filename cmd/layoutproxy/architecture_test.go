package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// Commands start no background jobs. Only a package that also stops its jobs may start them, such
// as internal/daemon.
func TestCommandsStartNoGoroutine(t *testing.T) {
	files, err := filepath.Glob("*.go")
	layouttest.Try(t, err)
	commands := 0
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		commands++
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, name, nil, 0)
		layouttest.Try(t, err)
		for _, at := range goroutines(file) {
			t.Errorf("%s: a goroutine starts here, want none in commands", set.Position(at))
		}
	}
	if commands < 8 {
		t.Errorf("found %d source files of commands, want at least 8", commands)
	}
}

// goroutines returns the positions in a file where a goroutine starts: go statements and calls of
// Go and AfterFunc.
func goroutines(file *ast.File) (at []token.Pos) {
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			at = append(at, n.Pos())
		case *ast.CallExpr:
			if s, ok := n.Fun.(*ast.SelectorExpr); ok && (s.Sel.Name == "Go" || s.Sel.Name == "AfterFunc") {
				at = append(at, n.Pos())
			}
		}
		return true
	})
	return at
}

func TestGoroutinesFindsEveryStart(t *testing.T) {
	for body, want := range map[string]int{
		"f()": 0, "go f()": 1, "var g sync.WaitGroup; g.Go(f)": 1, "time.AfterFunc(0, f)": 1,
		"defer context.AfterFunc(ctx, f)()": 1, "func() { go func() {}() }()": 1,
	} {
		file, err := parser.ParseFile(token.NewFileSet(), "", "package p; func x() { "+body+" }", 0)
		layouttest.Try(t, err)
		if got := len(goroutines(file)); got != want {
			t.Errorf("goroutines(%q) found %d goroutines, want %d", body, got, want)
		}
	}
}

// The program does not contain gRPC, which would make it 10 % larger.
func TestProgramLinksNoGRPC(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	layouttest.Try(t, err)
	packages := strings.Fields(string(out))
	if len(packages) < 200 {
		t.Errorf("go list found %d packages, want at least 200", len(packages))
	}
	for _, p := range packages {
		if strings.HasPrefix(p, "google.golang.org/grpc") {
			t.Errorf("the program links %s, want no gRPC; to see which package imports it: go list -deps -f '{{.ImportPath}}: {{.Imports}}' ./cmd/layoutproxy", p)
			return
		}
	}
}
