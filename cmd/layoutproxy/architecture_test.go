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

// A command makes one call and prints the result. Background jobs are in packages that also end
// them: internal/daemon, or those of lower floors.
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
			t.Errorf("%s starts a goroutine", set.Position(at))
		}
	}
	if commands < 8 {
		t.Errorf("%d files: are all found?", commands)
	}
}

// goroutines returns the places where a file starts a goroutine: by a go statement, a group, or a
// function that is called later.
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

func TestGoroutines(t *testing.T) {
	for body, want := range map[string]int{
		"f()": 0, "go f()": 1, "var g sync.WaitGroup; g.Go(f)": 1, "time.AfterFunc(0, f)": 1,
		"defer context.AfterFunc(ctx, f)()": 1, "func() { go func() {}() }()": 1,
	} {
		file, err := parser.ParseFile(token.NewFileSet(), "", "package p; func x() { "+body+" }", 0)
		layouttest.Try(t, err)
		if got := len(goroutines(file)); got != want {
			t.Errorf("%s: %d, want %d", body, got, want)
		}
	}
}

// The program links no gRPC, which would make it a tenth larger.
func TestProgramLinksNoGRPC(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	layouttest.Try(t, err)
	packages := strings.Fields(string(out))
	if len(packages) < 200 {
		t.Errorf("%d packages: are all found?", len(packages))
	}
	for _, p := range packages {
		if strings.HasPrefix(p, "google.golang.org/grpc") {
			t.Errorf("the program links %s: go list -deps -f '{{.ImportPath}}: {{.Imports}}' ./cmd/layoutproxy says who imports it", p)
			return
		}
	}
}
